//! A frontend, honest unless told otherwise.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use guest_abi::ids::GrantRef;
use guest_abi::io::netif::{RxFlags, TxFlags};
use guest_abi::{DomId, Port};

use super::ring::FrontRing;
use super::{World, mac, pattern};
use crate::host::fake::{FakeChannel, FakeHost, FakePage};
use crate::host::{Access, Host, SharedPage};
use crate::netback::packet::{Family, Gso};
use crate::netback::{Netback, Options};
use crate::xenbus::{Control, Device, End, run};
use crate::xenstore::Error;

/// A packet to be sent.
pub(super) struct Sent<'a> {
    pub(super) bytes: &'a [u8],
    /// How long its first slots are; the last takes the rest.
    pub(super) cuts: &'a [usize],
    pub(super) flags: TxFlags,
    pub(super) gso: Option<(u16, u8)>,
}

impl<'a> Sent<'a> {
    pub(super) fn plain(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            cuts: &[],
            flags: TxFlags::empty(),
            gso: None,
        }
    }
}

/// A packet that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) bytes: Vec<u8>,
    pub(super) flags: RxFlags,
    pub(super) gso: Option<Gso>,
    pub(super) buffers: usize,
    pub(super) failed: bool,
}

type Task = Pin<Box<dyn Future<Output = Result<End, Error>>>>;

/// A guest with one vif.
pub(super) struct Guest {
    host: Rc<FakeHost>,
    pub(super) domain: DomId,
    pub(super) tx: FrontRing,
    pub(super) rx: FrontRing,
    pub(super) tx_channel: FakeChannel,
    pub(super) rx_channel: FakeChannel,
    next_grant: u32,
    buffers: Vec<(GrantRef, FakePage)>,
    pub(super) backend: Rc<Netback>,
    pub(super) control: Control,
    task: Option<Task>,
}

/// What Linux asks for.
pub(super) const LINUX: &[(&str, &str)] = &[
    ("request-rx-copy", "1"),
    ("feature-rx-notify", "1"),
    ("feature-sg", "1"),
    ("feature-gso-tcpv4", "1"),
    ("feature-gso-tcpv6", "1"),
    ("feature-ipv6-csum-offload", "1"),
];
/// What a small frontend asks for.
pub(super) const SMALL: &[(&str, &str)] = &[
    ("request-rx-copy", "1"),
    ("feature-rx-notify", "1"),
    ("feature-no-csum-offload", "1"),
];

impl Guest {
    /// A connected guest like Linux, with all its buffers posted.
    pub(super) fn linux(world: &World, number: u8, options: Options) -> Self {
        let mut guest = Self::with(world, number, options, LINUX);
        guest.post(256);
        guest
    }

    pub(super) fn with(
        world: &World,
        number: u8,
        options: Options,
        nodes: &[(&str, &str)],
    ) -> Self {
        let host = world.host.clone();
        let domain = DomId::new(number.into());
        let (tx, rx) = (FrontRing::new(12), FrontRing::new(8));
        host.grant(domain, GrantRef::new(8), &tx.page, Access::ReadWrite);
        host.grant(domain, GrantRef::new(9), &rx.page, Access::ReadWrite);
        let mut guest = Self {
            tx_channel: host.open_port(domain, Port::new(5)),
            rx_channel: host.open_port(domain, Port::new(6)),
            backend: Rc::new(Netback::new(world.switch.clone(), options)),
            control: Control::default(),
            task: None,
            next_grant: 100,
            buffers: Vec::new(),
            host,
            domain,
            tx,
            rx,
        };
        guest.node("state", "1");
        guest.start();
        guest.poll();
        for (key, value) in [
            ("tx-ring-ref", "8"),
            ("rx-ring-ref", "9"),
            ("event-channel-tx", "5"),
            ("event-channel-rx", "6"),
        ] {
            guest.node(key, value);
        }
        for (key, value) in nodes {
            guest.node(key, value);
        }
        guest.node("state", "4");
        guest.poll();
        guest
    }

    /// Sets a node of the frontend.
    pub(super) fn node(&self, key: &str, value: &str) {
        let path = Device::front_path("vif", self.domain, 0);
        let mut store = self.host.store().borrow_mut();
        store.put(&alloc::format!("{path}/{key}"), value).unwrap();
    }

    /// A node of the backend.
    pub(super) fn back(&self, key: &str) -> String {
        let path = Device::back_path("vif", self.domain, 0);
        let mut store = self.host.store().borrow_mut();
        store
            .get(&alloc::format!("{path}/{key}"))
            .unwrap_or_default()
    }

    /// Starts the backend.
    pub(super) fn start(&mut self) {
        self.control = Control::default();
        let host: Rc<dyn Host> = self.host.clone();
        let (domain, backend, control) = (self.domain, self.backend.clone(), self.control.clone());
        self.task = Some(Box::pin(async move {
            let device = Device::open(host, "vif", domain, 0)?;
            run(&device, &*backend, &control).await
        }));
    }

    /// Lets the backend run.
    pub(super) fn poll(&mut self) -> Option<End> {
        let task = self.task.as_mut()?;
        let mut context = Context::from_waker(Waker::noop());
        match task.as_mut().poll(&mut context) {
            Poll::Ready(end) => {
                self.task = None;
                Some(end.unwrap())
            }
            Poll::Pending => None,
        }
    }

    fn grant(&mut self, page: &FakePage, access: Access) -> GrantRef {
        let reference = GrantRef::new(self.next_grant);
        self.next_grant += 1;
        self.host.grant(self.domain, reference, page, access);
        reference
    }

    /// Posts buffers.
    pub(super) fn post(&mut self, count: usize) {
        for _ in 0..count {
            let page = FakePage::new();
            let reference = self.grant(&page, Access::ReadWrite);
            let index = self.rx.produced % 256;
            self.rx.push(&buffer(index, reference));
            self.buffers.resize(
                (index as usize + 1).max(self.buffers.len()),
                (reference, page.clone()),
            );
            self.buffers[index as usize] = (reference, page);
        }
        if self.rx.publish() {
            self.rx_channel.send();
        }
    }

    /// Puts a packet on the ring.
    pub(super) fn queue(&mut self, sent: &Sent<'_>) {
        let mut rest = sent.bytes;
        let mut pieces = Vec::new();
        for &cut in sent.cuts {
            let (piece, behind) = rest.split_at(cut);
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.into_iter().enumerate() {
            let (page, offset) = (
                FakePage::new(),
                if index == 0 { 4096 - piece.len() } else { 0 },
            );
            page.copy_to(offset, piece);
            let reference = self.grant(&page, Access::ReadOnly);
            let mut flags = if index == 0 {
                sent.flags
            } else {
                TxFlags::empty()
            };
            flags.set(TxFlags::MORE_DATA, index < last);
            flags.set(TxFlags::EXTRA_INFO, index == 0 && sent.gso.is_some());
            let size = if index == 0 {
                sent.bytes.len()
            } else {
                piece.len()
            };
            self.request(reference, offset, flags, size);
            if index == 0
                && let Some((size, kind)) = sent.gso
            {
                let [low, high] = size.to_le_bytes();
                self.tx.push(&[1, 0, low, high, kind, 0, 0, 0, 0, 0, 0, 0]);
            }
        }
    }

    /// Puts one request on the ring.
    pub(super) fn request(
        &mut self,
        reference: GrantRef,
        offset: usize,
        flags: TxFlags,
        size: usize,
    ) {
        let mut bytes = Vec::new();
        bytes.extend(reference.get().to_le_bytes());
        bytes.extend(u16::try_from(offset).unwrap().to_le_bytes());
        bytes.extend(flags.bits().to_le_bytes());
        bytes.extend(u16::try_from(self.tx.produced % 256).unwrap().to_le_bytes());
        bytes.extend(u16::try_from(size).unwrap().to_le_bytes());
        self.tx.push(&bytes);
    }

    /// Publishes what is on the ring.
    pub(super) fn push(&mut self) {
        if self.tx.publish() {
            self.tx_channel.send();
        }
    }

    pub(super) fn send(&mut self, sent: &Sent<'_>) {
        self.queue(sent);
        self.push();
    }

    /// Sends a frame of some length to another guest.
    pub(super) fn greet(&mut self, to: u8, len: usize) -> Vec<u8> {
        let from = u8::try_from(self.domain.get()).unwrap();
        let body = pattern(len - 14);
        let frame = crate::netback::packet::tests::frame(mac(to), mac(from), 0x88b5, &body);
        let cuts: Vec<usize> = match len {
            0..=4096 => Vec::new(),
            _ => alloc::vec![4096; (len - 1) / 4096],
        };
        let mut sent = Sent::plain(&frame);
        sent.cuts = &cuts;
        self.send(&sent);
        frame
    }

    /// The answers to what was sent: identifier and status.
    pub(super) fn answers(&mut self) -> Vec<(u16, i16)> {
        let mut answers = Vec::new();
        while let Some(bytes) = self.tx.pop() {
            let half = |at: usize| [bytes[at], bytes[at + 1]];
            answers.push((u16::from_le_bytes(half(0)), i16::from_le_bytes(half(2))));
        }
        answers
    }

    /// The packets that came.
    pub(super) fn receive(&mut self) -> Vec<Got> {
        let mut packets = Vec::new();
        while let Some(first) = self.rx.pop() {
            packets.push(self.packet(first));
        }
        packets
    }

    fn packet(&mut self, first: [u8; 8]) -> Got {
        let half = |bytes: [u8; 8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let flags = |bytes| RxFlags::from_bits(half(bytes, 4)).unwrap();
        let mut got = Got {
            bytes: Vec::new(),
            flags: flags(first),
            gso: None,
            buffers: 0,
            failed: false,
        };
        let mut response = first;
        loop {
            let slot = (self.rx.consumed - 1) % 256;
            assert_eq!(u32::from(half(response, 0)), slot, "answered in order");
            let (offset, status) = (half(response, 2), half(response, 6).cast_signed());
            match usize::try_from(status) {
                Ok(len) => {
                    let mut bytes = alloc::vec![0; len];
                    let page = &self.buffers[slot as usize].1;
                    page.copy_from(offset.into(), &mut bytes);
                    got.bytes.extend(bytes);
                }
                Err(_) => got.failed = true,
            }
            got.buffers += 1;
            let more = flags(response).contains(RxFlags::MORE_DATA);
            if got.buffers == 1 && got.flags.contains(RxFlags::EXTRA_INFO) {
                let extra = self.rx.pop().unwrap();
                assert_eq!(extra[..2], [1, 0]);
                let family = [Family::V4, Family::V6][usize::from(extra[4]) - 1];
                let size = half(extra, 2);
                got.gso = Some(Gso { family, size });
            }
            if !more {
                return got;
            }
            response = self.rx.pop().unwrap();
        }
    }

    /// Whether the backend has let go of everything.
    pub(super) fn is_disconnected(&self) -> bool {
        !self.tx_channel.is_open() && !self.rx_channel.is_open()
    }
}

fn buffer(index: u32, reference: GrantRef) -> [u8; 8] {
    let [a, b, ..] = index.to_le_bytes();
    let [c, d, e, f] = reference.get().to_le_bytes();
    [a, b, 0, 0, c, d, e, f]
}
