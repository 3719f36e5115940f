//! Each way of breaking the rules, and what the backend did about it.
//!
//! Every attack has a fresh connection of its own. Whatever it does to that one, the next must work.

use alloc::{format, string::String, vec, vec::Vec};
use core::sync::atomic::Ordering;

use frontends::{
    events,
    grants::Grant,
    guest_abi::{
        grant_table::GrantEntryV1,
        ids::GrantRef,
        io::netif::{ExtraInfo, TxFlags, TxRequest},
        zerocopy::{Immutable, IntoBytes},
    },
    netfront::{Netfront, Offload},
    println,
    time::{self, Alarm},
    xenbus::{Life, XenbusState},
};

use super::{Failed, Host, VCPU};

/// How long the backend may take to answer: in nanoseconds.
const PATIENCE: u64 = 300_000_000;

/// An attack: what it does to a fresh connection, and the pages that must live as long.
type Attack = fn(&mut Host, &mut Raw) -> Result<Vec<Grant>, Failed>;

/// A connected card whose sending ring is written by hand.
struct Raw {
    card: Netfront,
    produced: u32,
}

impl Raw {
    fn put<T: IntoBytes + Immutable>(&mut self, message: &T) {
        if let Some((tx, _)) = self.card.rings(0) {
            let slot = self.produced as usize % 256;
            tx.bytes().write(64 + slot * 12, message.as_bytes());
        }
        self.produced = self.produced.wrapping_add(1);
    }

    fn show(&self) {
        self.show_index(self.produced);
    }

    fn show_index(&self, index: u32) {
        if let Some((tx, _)) = self.card.rings(0) {
            tx.bytes().u32(0).store(index, Ordering::Release);
        }
        self.card.notify(0);
    }

    /// A slot of 60 bytes with these flags.
    fn slot(&mut self, gref: GrantRef, offset: u16, size: u16, flags: TxFlags) {
        self.put(&TxRequest {
            gref,
            offset,
            flags: flags.bits(),
            id: 1,
            size,
        });
    }

    /// Waits until everything is answered, the backend has had enough, or for a while.
    fn watch(&self, host: &mut Host, alarm: &Alarm) -> Result<&'static str, Failed> {
        let deadline = time::now(VCPU) + PATIENCE;
        loop {
            events::take(VCPU, |_| ());
            if self.card.life(&mut host.store)? != Life::Serving {
                return Ok("disconnected");
            }
            let answered = self
                .card
                .rings(0)
                .map_or(0, |(tx, _)| tx.bytes().u32(8).load(Ordering::Acquire));
            if answered == self.produced && answered > 0 {
                return Ok("answered");
            }
            if time::now(VCPU) >= deadline {
                return Ok("silent");
            }
            alarm.wait_until(deadline);
        }
    }
}

/// A page with a frame from our own address to everybody in it.
fn page(host: &Host, raw: &Raw) -> Result<Grant, Failed> {
    let page = host.grants.lend(raw.card.backend())?;
    page.fill(0, 6, 0xff);
    page.write(6, &raw.card.link().mac);
    page.write(12, &[0x88, 0xb5]);
    Ok(page)
}

const NONE: TxFlags = TxFlags::empty();

const ATTACKS: &[(&str, Attack)] = &[
    ("producer-jump", |_, raw| {
        raw.show_index(1 << 31);
        Ok(Vec::new())
    }),
    ("rx-producer-jump", |_, raw| {
        if let Some((_, rx)) = raw.card.rings(0) {
            rx.bytes().u32(0).store(1 << 31, Ordering::Release);
        }
        raw.card.notify(0);
        Ok(Vec::new())
    }),
    ("bad-grant", |_, raw| {
        for reference in [511, 100_000, u32::MAX] {
            raw.slot(GrantRef::new(reference), 0, 60, NONE);
        }
        raw.show();
        Ok(Vec::new())
    }),
    ("beyond-page", |host, raw| {
        let page = page(host, raw)?;
        for (offset, size) in [(4090, 60), (u16::MAX, 60), (1, 4096), (u16::MAX, u16::MAX)] {
            raw.slot(page.reference(), offset, size, NONE);
        }
        raw.show();
        Ok(vec![page])
    }),
    ("too-short", |host, raw| {
        let page = page(host, raw)?;
        for size in [0, 1, 13] {
            raw.slot(page.reference(), 0, size, NONE);
        }
        raw.show();
        Ok(vec![page])
    }),
    ("endless-packet", |host, raw| {
        let page = page(host, raw)?;
        (0..256).for_each(|_| raw.slot(page.reference(), 0, 60, TxFlags::MORE_DATA));
        raw.show();
        Ok(vec![page])
    }),
    ("pieces-longer-than-packet", |host, raw| {
        let page = page(host, raw)?;
        raw.slot(page.reference(), 0, 100, TxFlags::MORE_DATA);
        raw.slot(page.reference(), 0, 4096, NONE);
        raw.show();
        Ok(vec![page])
    }),
    ("endless-extras", |host, raw| {
        let page = page(host, raw)?;
        raw.slot(page.reference(), 0, 60, TxFlags::EXTRA_INFO);
        let extra = ExtraInfo {
            kind: 1,
            flags: 1,
            gso_size: 1,
            gso_type: 1,
            ..ExtraInfo::default()
        };
        (0..200).for_each(|_| raw.put(&extra));
        raw.show();
        Ok(vec![page])
    }),
    ("bad-segmentation", |host, raw| {
        let page = page(host, raw)?;
        for (gso_size, gso_type) in [(0, 1), (1, 1), (u16::MAX, 1), (1448, 9)] {
            raw.slot(
                page.reference(),
                0,
                60,
                TxFlags::EXTRA_INFO | TxFlags::CSUM_BLANK,
            );
            raw.put(&ExtraInfo {
                kind: 1,
                gso_size,
                gso_type,
                ..ExtraInfo::default()
            });
        }
        raw.show();
        Ok(vec![page])
    }),
    ("blank-checksum-of-nothing", |host, raw| {
        let page = page(host, raw)?;
        page.write(12, &[8, 0, 0x4f]);
        raw.slot(page.reference(), 0, 60, TxFlags::CSUM_BLANK);
        raw.show();
        Ok(vec![page])
    }),
    ("same-grant-twice", |host, raw| {
        let page = page(host, raw)?;
        (0..200).for_each(|_| raw.slot(page.reference(), 0, 60, NONE));
        raw.show();
        Ok(vec![page])
    }),
    ("spoofed-source", spoofed),
    ("page-revoked", |host, raw| {
        let page = page(host, raw)?;
        (0..200).for_each(|_| raw.slot(page.reference(), 0, 60, NONE));
        raw.show();
        host.grants.write(page.reference(), GrantEntryV1::default());
        Ok(vec![page])
    }),
    ("ring-pages-revoked", |host, raw| {
        let rings = raw.card.rings(0);
        let references: Vec<_> = rings
            .into_iter()
            .flat_map(|(tx, rx)| tx.references().chain(rx.references()))
            .collect();
        for reference in references {
            host.grants.write(reference, GrantEntryV1::default());
        }
        let page = page(host, raw)?;
        raw.slot(page.reference(), 0, 60, NONE);
        raw.show();
        Ok(vec![page])
    }),
    ("event-storm", |host, raw| {
        (0..20_000).for_each(|_| raw.card.notify(0));
        let page = page(host, raw)?;
        raw.slot(page.reference(), 0, 60, NONE);
        raw.show();
        Ok(vec![page])
    }),
    ("states-backwards", |host, raw| {
        let device = raw.card.device().clone();
        for state in [3, 1, 4, 2, 8, 0, 4, 3] {
            let state = XenbusState::from_number(state).unwrap_or(XenbusState::Unknown);
            device.switch(&mut host.store, state)?;
        }
        Ok(Vec::new())
    }),
];

/// Frames from addresses that are not ours: Ethernet, ARP, IP.
fn spoofed(_: &mut Host, raw: &mut Raw) -> Result<Vec<Grant>, Failed> {
    let own = raw.card.link().mac;
    let mut frame = vec![0; 60];
    frame[..6].fill(0xff);
    for (source, kind) in [
        ([2, 0, 0, 0, 0, 1], [0x88, 0xb5]),
        ([0xff; 6], [8, 0]),
        (own, [8, 6]),
        (own, [8, 0]),
    ] {
        frame[6..12].copy_from_slice(&source);
        frame[12..14].copy_from_slice(&kind);
        // An ARP answer, or an IP header, for an address that others use.
        frame[14..24].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2, 2, 0]);
        frame[28..32].copy_from_slice(&[10, 0, 2, 2]);
        let sent = raw.card.send(&frame, Offload::default());
        sent.map_err(|error| Failed(format!("{error}")))?;
        raw.produced += 1;
    }
    raw.card.kick();
    Ok(Vec::new())
}

/// Runs all of them, or the one that `attack=NAME` names.
pub(super) fn run(host: &mut Host) -> Result<String, Failed> {
    let alarm = Alarm::new()?;
    let only = host.start.argument("attack");
    for (name, attack) in ATTACKS {
        if only.is_some_and(|only| only != *name) {
            continue;
        }
        let reaction = perform(host, &alarm, *attack)
            .map_err(|Failed(why)| Failed(format!("{name}: {why}")))?;
        println!("attack {name} done: {reaction}");
    }
    let card = host.connect()?;
    card.close(&mut host.store)?;
    Ok(format!("lingering={}", host.grants.lingering()))
}

/// One attack on a connection of its own.
fn perform(host: &mut Host, alarm: &Alarm, attack: Attack) -> Result<&'static str, Failed> {
    let mut raw = Raw {
        card: host.connect()?,
        produced: 0,
    };
    let pages = attack(host, &mut raw)?;
    let reaction = raw.watch(host, alarm)?;
    raw.card.close(&mut host.store)?;
    drop(pages);
    Ok(reaction)
}
