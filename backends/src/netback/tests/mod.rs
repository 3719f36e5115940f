//! Whole vifs, seen from their guests and from the wire.

mod guest;
mod hostile;
mod life;
mod ring;
mod traffic;
mod wire;

use guest::{Guest, Sent};

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::host::fake::{FakeHost, FakePage};
use crate::host::{Host, MacAddress, Nic, Piece, SharedPage};
use crate::netback::{Options, Switch};

/// A card: what it sent, and what it is about to receive.
#[derive(Default)]
struct FakeNic {
    sent: RefCell<Vec<Vec<u8>>>,
    incoming: RefCell<VecDeque<Piece>>,
    full: Cell<bool>,
    kicks: Cell<u32>,
}

impl FakeNic {
    fn receive(&self, bytes: &[u8]) {
        let page = FakePage::new();
        page.copy_to(64, bytes);
        self.incoming.borrow_mut().push_back(Piece {
            memory: Rc::new(page),
            offset: 64,
            len: bytes.len(),
        });
    }

    fn take_sent(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.sent.borrow_mut())
    }
}

impl Nic for FakeNic {
    fn mac(&self) -> MacAddress {
        MacAddress([2; 6])
    }

    fn max_frame(&self) -> usize {
        1514
    }

    fn transmit(&self, frame: Vec<Piece>) -> bool {
        if self.full.get() {
            return false;
        }
        let mut bytes = Vec::new();
        for piece in &frame {
            assert!(
                piece.offset % 4096 + piece.len <= 4096,
                "a piece crosses its page"
            );
            let start = bytes.len();
            bytes.resize(start + piece.len, 0);
            piece.read(0, &mut bytes[start..]);
        }
        self.sent.borrow_mut().push(bytes);
        true
    }

    fn kick(&self) {
        self.kicks.set(self.kicks.get() + 1);
    }

    fn poll_receive(&self, _: &mut Context<'_>) -> Poll<Piece> {
        match self.incoming.borrow_mut().pop_front() {
            Some(piece) => Poll::Ready(piece),
            None => Poll::Pending,
        }
    }
}

/// A host with a switch, and a card if wanted.
struct World {
    host: Rc<FakeHost>,
    switch: Rc<Switch>,
    nic: Rc<FakeNic>,
    uplink: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl World {
    /// Without a card.
    fn new() -> Self {
        Self {
            host: FakeHost::new(),
            switch: Switch::new("xenbr0"),
            nic: Rc::default(),
            uplink: None,
        }
    }

    /// With a card.
    fn with_uplink() -> Self {
        let mut world = Self::new();
        let host: Rc<dyn Host> = world.host.clone();
        let task = world.switch.attach_uplink(host, world.nic.clone());
        world.uplink = Some(Box::pin(task));
        world
    }

    /// Lets everything run until nothing moves.
    fn run(&mut self, guests: &mut [&mut Guest]) {
        for _ in 0..20 {
            for guest in &mut *guests {
                guest.poll();
            }
            if let Some(uplink) = &mut self.uplink {
                let mut context = Context::from_waker(Waker::noop());
                let _ = uplink.as_mut().poll(&mut context);
            }
        }
    }
}

/// The address of a test's guest.
fn mac(number: u8) -> [u8; 6] {
    [0, 0x16, 0x3e, 0, 0, number]
}

/// Nothing but an address.
fn options(number: u8) -> Options {
    Options::new(MacAddress(mac(number)))
}

/// Bytes that tell when they are mixed up.
fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}
