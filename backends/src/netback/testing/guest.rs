//! A frontend, honest unless told otherwise.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::task::Poll;

use guest_abi::ids::GrantRef;
use guest_abi::io::netif::TxFlags;
use guest_abi::{DomId, Port};

use super::ring::FrontRing;
use super::{World, frame, mac, pattern};
use crate::host::fake::{FakeChannel, FakeHost, FakePage};
use crate::host::{Access, Host, SharedPage};
use crate::netback::{Netback, Options};
use crate::testing::Task;
use crate::xenbus::{Control, Device, End, run};
use crate::xenstore::Error;

/// A packet to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// How long its first slots are; the last takes the rest.
    pub cuts: &'a [usize],
    /// Flags of its first request.
    pub flags: TxFlags,
    /// Segmentation: size and type.
    pub gso: Option<(u16, u8)>,
}

impl<'a> Sent<'a> {
    /// In one slot, with nothing left to do.
    #[must_use]
    pub fn plain(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            cuts: &[],
            flags: TxFlags::empty(),
            gso: None,
        }
    }
}

/// A guest with one vif.
pub struct Guest {
    /// The host it is on.
    pub host: Rc<FakeHost>,
    /// Its domain.
    pub domain: DomId,
    /// The ring to send with.
    pub tx: FrontRing,
    /// The ring to receive with.
    pub rx: FrontRing,
    /// The channel of the one.
    pub tx_channel: FakeChannel,
    /// The channel of the other.
    pub rx_channel: FakeChannel,
    next_grant: u32,
    pub(super) buffers: Vec<(GrantRef, FakePage)>,
    /// Its backend.
    pub backend: Rc<Netback>,
    /// The toolstack's hold on it.
    pub control: Control,
    task: Option<Task<Result<End, Error>>>,
    /// How its backend ended.
    pub ended: Option<Result<End, Error>>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guest({}, {:?})", self.domain, self.task)
    }
}

/// What Linux asks for.
pub const LINUX: &[(&str, &str)] = &[
    ("request-rx-copy", "1"),
    ("feature-rx-notify", "1"),
    ("feature-sg", "1"),
    ("feature-gso-tcpv4", "1"),
    ("feature-gso-tcpv6", "1"),
    ("feature-ipv6-csum-offload", "1"),
];
/// What a small frontend asks for.
pub const SMALL: &[(&str, &str)] = &[
    ("request-rx-copy", "1"),
    ("feature-rx-notify", "1"),
    ("feature-no-csum-offload", "1"),
];

impl Guest {
    /// A connected guest like Linux, with all its buffers posted.
    #[must_use]
    pub fn linux(world: &World, number: u8, options: Options) -> Self {
        let mut guest = Self::with(world, number, options, LINUX);
        guest.post(256);
        guest
    }

    /// A guest that asks for these things, with no buffers posted.
    #[must_use]
    pub fn with(world: &World, number: u8, options: Options, nodes: &[(&str, &str)]) -> Self {
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
            ended: None,
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
    pub fn node(&self, key: &str, value: &str) {
        let path = Device::front_path("vif", self.domain, 0);
        let mut store = self.host.store().borrow_mut();
        let _ = store.put(&format!("{path}/{key}"), value);
    }

    /// A node of the backend.
    #[must_use]
    pub fn back(&self, key: &str) -> String {
        let path = Device::back_path("vif", self.domain, 0);
        let mut store = self.host.store().borrow_mut();
        store.get(&format!("{path}/{key}")).unwrap_or_default()
    }

    /// Starts the backend.
    pub fn start(&mut self) {
        self.control = Control::default();
        self.ended = None;
        let host: Rc<dyn Host> = self.host.clone();
        let (domain, backend, control) = (self.domain, self.backend.clone(), self.control.clone());
        self.task = Some(Task::new(async move {
            let device = Device::open(host, "vif", domain, 0)?;
            run(&device, &*backend, &control).await
        }));
    }

    /// Lets the backend run once, if somebody has woken it.
    pub fn step(&mut self) -> bool {
        let Some(step) = self.task.as_mut().and_then(Task::step) else {
            return false;
        };
        if let Poll::Ready(end) = step {
            self.task = None;
            self.ended = Some(end);
        }
        true
    }

    /// Lets the backend run until it rests; how it ended, if it did.
    pub fn poll(&mut self) -> Option<End> {
        while self.step() {}
        self.ended?.ok()
    }

    /// Starts with rings as they were in the beginning.
    pub fn fresh_rings(&mut self) {
        self.tx.reset();
        self.rx.reset();
        self.buffers.clear();
    }

    /// Whether the backend runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.task.is_some()
    }

    /// Grants a page to the backend.
    pub fn grant(&mut self, page: &FakePage, access: Access) -> GrantRef {
        let reference = GrantRef::new(self.next_grant);
        self.next_grant += 1;
        self.host.grant(self.domain, reference, page, access);
        reference
    }

    /// Posts buffers.
    pub fn post(&mut self, count: usize) {
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
    pub fn queue(&mut self, sent: &Sent<'_>) {
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
    pub fn request(&mut self, reference: GrantRef, offset: usize, flags: TxFlags, size: usize) {
        let mut bytes = Vec::new();
        bytes.extend(reference.get().to_le_bytes());
        bytes.extend(short(offset));
        bytes.extend(flags.bits().to_le_bytes());
        bytes.extend(short(self.tx.produced as usize % 256));
        bytes.extend(short(size));
        self.tx.push(&bytes);
    }

    /// Publishes what is on the ring.
    pub fn push(&mut self) {
        if self.tx.publish() {
            self.tx_channel.send();
        }
    }

    /// Sends a packet.
    pub fn send(&mut self, sent: &Sent<'_>) {
        self.queue(sent);
        self.push();
    }

    /// Sends a frame of some length to another guest.
    pub fn greet(&mut self, to: u8, len: usize) -> Vec<u8> {
        let [from, _] = self.domain.get().to_le_bytes();
        let body = pattern(len - 14);
        let frame = frame(mac(to), mac(from), 0x88b5, &body);
        let cuts: Vec<usize> = match len {
            0..=4096 => Vec::new(),
            _ => alloc::vec![4096; (len - 1) / 4096],
        };
        let mut sent = Sent::plain(&frame);
        sent.cuts = &cuts;
        self.send(&sent);
        frame
    }

    /// Whether the backend has let go of everything.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        !self.tx_channel.is_open() && !self.rx_channel.is_open()
    }
}

fn buffer(index: u32, reference: GrantRef) -> [u8; 8] {
    let [a, b, ..] = index.to_le_bytes();
    let [c, d, e, f] = reference.get().to_le_bytes();
    [a, b, 0, 0, c, d, e, f]
}

fn short(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes()
}
