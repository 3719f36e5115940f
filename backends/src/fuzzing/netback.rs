//! A frontend made of bytes, beside an honest one and a card.
//!
//! ```text
//!   setup, then steps: a number, then what the step needs
//! ```

use alloc::vec::Vec;
use core::net::IpAddr;

use guest_abi::ids::GrantRef;
use guest_abi::io::netif::TxFlags;
use guest_abi::io::xenbus::XenbusState;

use super::Seen;
use super::input::Input;
use crate::host::SharedPage;
use crate::netback::testing::{Guest, LINUX, SMALL, Sent, World, frame, mac, options, tcp};
use crate::netback::{Options, Rate};
use crate::xenbus::{End, Wish};

/// Steps of one input.
const STEPS: usize = 200;
/// The guest made of bytes.
const EVIL: u8 = 1;
/// The honest one.
const GOOD: u8 = 2;
/// Somebody outside.
const GATEWAY: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];

/// Carries out the steps of a frontend.
///
/// # Panics
///
/// When the backend breaks a promise.
pub fn netback(data: &[u8]) -> Seen {
    let mut input = Input::new(data);
    let mut net = Net::new(&mut input);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        net.step(&mut input);
        net.check();
    }
    net.end()
}

struct Net {
    world: World,
    evil: Guest,
    good: Guest,
    /// It has not cheated about its rings: each of its packets is answered once.
    honest_ring: bool,
    seen: Seen,
}

impl Net {
    fn new(input: &mut Input<'_>) -> Self {
        let (first, second) = (input.byte(), input.byte());
        let world = if first & 1 != 0 {
            World::with_uplink()
        } else {
            World::new()
        };
        let nodes = if first & 2 != 0 { LINUX } else { SMALL };
        let mut evil = Guest::with(&world, EVIL, limits(first), nodes);
        evil.post(usize::from(second));
        let mut good = Guest::linux(&world, GOOD, options(GOOD));
        good.post(0);
        Self {
            world,
            evil,
            good,
            honest_ring: true,
            seen: Seen::default(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 20 {
            0..5 => self.send(input),
            5 => self.send_raw(input),
            6 | 7 => self.evil.push(),
            8 => self.post(input),
            9 => self.greet(input),
            10 => self.receive(input),
            11 => self.world.host.advance(u64::from(input.short()) * 100_000),
            12 => self.world.nic.full.set(input.byte() & 1 != 0),
            13 => self.lie(input),
            14 => self.break_a_rule(input),
            15 => self.change_state(input),
            16 => self.restart(),
            17 => self.start_anew(),
            18 => drop(self.evil.receive_anything()),
            _ => self.good_reads(),
        }
        self.run();
    }

    fn run(&mut self) {
        self.world.run(&mut [&mut self.evil, &mut self.good]);
    }

    /// A packet, with or without sense.
    fn send(&mut self, input: &mut Input<'_>) {
        let to = input.choose(&[mac(GOOD), GATEWAY, [0xff; 6], mac(EVIL), [2; 6], mac(9)]);
        let (kind, len) = (input.byte(), usize::from(input.short()));
        let mut bytes = match kind & 3 {
            0 => frame(to, mac(EVIL), input.short(), input.bytes(40)),
            which => tcp(which == 2, to, EVIL, len % 60_000),
        };
        if kind & 4 != 0 {
            let at = input.below(100).min(bytes.len() - 1);
            bytes[at] = input.byte();
        }
        let cuts = cut(bytes.len(), usize::from(input.byte()));
        let gso = (kind & 8 != 0).then(|| (input.short(), (kind >> 4 & 1) + 1));
        let mut flags = TxFlags::empty();
        flags.set(TxFlags::CSUM_BLANK, kind & 0x20 != 0);
        flags.set(TxFlags::DATA_VALIDATED, kind & 0x40 != 0);
        let slots = cuts.len() + 1 + usize::from(gso.is_some());
        if self.room() >= slots {
            self.evil.queue(&Sent {
                bytes: &bytes,
                cuts: &cuts,
                flags,
                gso,
            });
        }
        if kind & 0x80 != 0 {
            self.evil.push();
        }
    }

    fn room(&self) -> usize {
        let open = self.evil.tx.produced.wrapping_sub(self.evil.tx.answered());
        256_usize.saturating_sub(open as usize)
    }

    /// A slot of any bytes.
    fn send_raw(&mut self, input: &mut Input<'_>) {
        let mut slot = [0; 12];
        let bytes = input.bytes(12);
        slot[..bytes.len()].copy_from_slice(bytes);
        if self.room() > 0 {
            self.evil.tx.push(&slot);
        }
    }

    /// Buffers, good or bad.
    fn post(&mut self, input: &mut Input<'_>) {
        let count = input.byte();
        let open = self.evil.rx.produced.wrapping_sub(self.evil.rx.answered());
        let room = 256_u32.saturating_sub(open);
        if count >= 250 && room > 0 {
            let [a, b, c, d] = input.word().to_le_bytes();
            self.evil.rx.push(&[a, b, c, d, d, c, b, a]);
        } else {
            self.evil.post(usize::from(count).min(room as usize));
        }
    }

    fn greet(&mut self, input: &mut Input<'_>) {
        let len = 14 + usize::from(input.short()) % 60_000;
        self.good.greet(input.choose(&[EVIL, 0xff]), len);
    }

    fn receive(&mut self, input: &mut Input<'_>) {
        let to = input.choose(&[mac(EVIL), mac(GOOD), [0xff; 6], GATEWAY]);
        let from = input.choose(&[GATEWAY, mac(EVIL), mac(GOOD)]);
        let rest = input.bytes(30);
        for _ in 0..=input.below(100) {
            self.world.nic.receive(&frame(to, from, 0x0800, rest));
        }
    }

    fn lie(&mut self, input: &mut Input<'_>) {
        self.honest_ring = false;
        let ring = input.choose(&[&self.evil.tx, &self.evil.rx]);
        ring.page.store_u32(input.below(4) * 4, input.word());
        self.evil.tx_channel.send();
        self.evil.rx_channel.send();
    }

    fn break_a_rule(&mut self, input: &mut Input<'_>) {
        let host = &self.world.host;
        match input.below(3) {
            0 => host.revoke(self.evil.domain, GrantRef::new(input.word() % 2048)),
            1 => {
                self.honest_ring = false;
                let at = 64 + input.below(250) * 4;
                self.evil.tx.page.store_u32(at, input.word());
            }
            _ => {
                let key = input.choose(&[
                    "tx-ring-ref",
                    "event-channel-rx",
                    "multi-queue-num-queues",
                    "request-rx-copy",
                    "feature-sg",
                ]);
                let value = input.choose(&["0", "1", "8", "9", "no", "-1"]);
                self.evil.node(key, value);
            }
        }
    }

    fn change_state(&mut self, input: &mut Input<'_>) {
        let state = input.choose(XenbusState::ALL);
        self.evil.node("state", state.digit());
        self.seen.note("state", state.number());
    }

    /// After a hand-over, all that was taken is answered.
    fn restart(&mut self) {
        self.evil.control.wish(Wish::HandOver);
        self.run();
        assert_eq!(self.evil.ended, Some(Ok(End::HandedOver)));
        assert_eq!(self.world.host.mapped(), 2, "those of the honest guest");
        if self.honest_ring {
            assert!(self.evil.tx.answered() <= self.evil.tx.produced);
        }
        self.evil.start();
        self.run();
        self.seen.note("restart", back_state(&self.evil));
    }

    /// The driver is loaded again.
    fn start_anew(&mut self) {
        for state in ["6", "1"] {
            self.evil.node("state", state);
            self.run();
        }
        self.evil.fresh_rings();
        self.honest_ring = true;
        self.evil.node("state", "4");
        self.run();
        self.evil.post(100);
        self.seen.note("anew", back_state(&self.evil));
    }

    /// What the honest guest gets is for it, and not from nobody.
    fn good_reads(&mut self) {
        let got = self.good.receive();
        for packet in &got {
            if packet.failed {
                continue;
            }
            let group = packet.bytes[0] & 1 != 0;
            assert!(group || packet.bytes[..6] == mac(GOOD));
            assert_ne!(packet.bytes[6..12], mac(GOOD)[..], "it never hears itself");
            self.seen.note("flags", packet.flags.bits().into());
            self.seen.count("buffers", packet.buffers);
            self.seen
                .note("gso", packet.gso.map_or(0, |(_, kind)| kind.into()));
        }
        let read: usize = got.iter().map(|packet| packet.slots()).sum();
        self.good.post(read);
        for (_, status) in self.good.answers() {
            self.seen
                .note("answer to the other", status.unsigned_abs().into());
        }
    }

    fn check(&mut self) {
        assert!(self.world.host.mapped() <= 4);
        assert_eq!(back_state(&self.good), 4, "{}", self.good.back("error"));
        for frame in self.world.nic.take_sent() {
            let from = [mac(EVIL), mac(GOOD)];
            assert!(from.iter().any(|mac| frame[6..12] == mac[..]));
            self.seen.count("sent", frame.len());
        }
        let stats = self.evil.backend.stats();
        for traffic in [stats.transmitted, stats.received] {
            self.seen.note("dropped", u32::from(traffic.dropped > 0));
            self.seen.note("passed", u32::from(traffic.packets > 0));
        }
        if self.honest_ring {
            for (_, status) in self.evil.answers() {
                self.seen.note("answer", status.unsigned_abs().into());
            }
        }
        self.seen.note("back", back_state(&self.evil));
    }

    /// The guest's nodes go, as when its domain dies: everything ends, and nothing is left.
    fn end(mut self) -> Seen {
        let words = self.evil.back("error");
        let words = words.bytes().filter(u8::is_ascii_alphabetic);
        self.seen.note("error", words.map(u32::from).sum());
        self.good_reads();
        self.evil.node("state", "6");
        self.evil.control.wish(Wish::Detach);
        self.run();
        assert_eq!(self.evil.ended, Some(Ok(End::Closed)));
        assert!(self.evil.is_disconnected());
        assert_eq!(self.world.host.mapped(), 2);
        // Whatever happened, the honest one can still send.
        self.good_reads();
        let open = self.good.tx.produced - self.good.tx.answered();
        assert_eq!(open, 0, "nobody holds a packet of its");
        self.seen
    }
}

fn limits(first: u8) -> Options {
    let mut options = options(EVIL);
    if first & 4 != 0 {
        options.addresses = alloc::vec![IpAddr::from([10, 0, 0, EVIL]).into()];
    }
    options.rate = (first & 8 != 0).then_some(Rate {
        bytes_per_interval: 20_000,
        interval_us: 10_000,
    });
    options
}

/// Lengths of the slots before the last.
fn cut(len: usize, first: usize) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut left = len;
    let mut next = first.min(len);
    while left > 4096 || cuts.is_empty() && next > 0 && left > next {
        let part = if cuts.is_empty() { next } else { 4096 };
        let part = part.clamp(1, 4096).min(left - 1);
        cuts.push(part);
        left -= part;
        next = 4096;
    }
    cuts
}

fn back_state(guest: &Guest) -> u32 {
    XenbusState::parse(guest.back("state").as_bytes()).number()
}
