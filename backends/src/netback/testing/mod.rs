//! Guests that do what a test tells them, a card, and a world that puts both on a switch.

mod frames;
mod guest;
mod receive;
mod ring;

pub use frames::{frame, ipv4, ipv6, mac, pattern, tcp};
pub use guest::{Guest, LINUX, SMALL, Sent};
pub use receive::Got;
pub use ring::FrontRing;

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::task::{Context, Poll, Waker};

use guest_abi::PAGE_SIZE;

use super::{Options, Switch};
use crate::host::fake::{FakeHost, FakePage};
use crate::host::{Host, MacAddress, Nic, Piece, SharedPage};
use crate::testing::Task;

/// A card: what it has sent, and what it is about to receive.
#[derive(Default)]
pub struct FakeNic {
    sent: RefCell<Vec<Vec<u8>>>,
    incoming: RefCell<VecDeque<Vec<Piece>>>,
    waker: Cell<Option<Waker>>,
    /// It takes no frame.
    pub full: Cell<bool>,
    /// How often it was told about frames.
    pub kicks: Cell<u32>,
}

impl fmt::Debug for FakeNic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeNic({} sent)", self.sent.borrow().len())
    }
}

impl FakeNic {
    /// A frame comes in, in as many pages as it takes.
    pub fn receive(&self, bytes: &[u8]) {
        const OFFSET: usize = 64;
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = if pieces.is_empty() { OFFSET } else { 0 };
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE - offset));
            let page = FakePage::new();
            page.copy_to(offset, now);
            pieces.push(Piece {
                memory: Rc::new(page),
                offset,
                len: now.len(),
            });
            rest = later;
        }
        self.incoming.borrow_mut().push_back(pieces);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The frames it has sent since.
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.sent.borrow_mut())
    }
}

impl Nic for FakeNic {
    fn mac(&self) -> MacAddress {
        MacAddress([2; 6])
    }

    fn mtu(&self) -> u16 {
        1500
    }

    fn max_frame(&self) -> usize {
        1514
    }

    fn transmit(&self, frame: &[Piece]) -> bool {
        if self.full.get() {
            return false;
        }
        let mut bytes = Vec::new();
        for piece in frame {
            let end = piece.offset % PAGE_SIZE + piece.len;
            assert!(end <= PAGE_SIZE, "a piece crosses its page");
            let start = bytes.len();
            bytes.resize(start + piece.len, 0);
            piece.read(0, &mut bytes[start..]);
        }
        assert!(bytes.len() <= self.max_frame());
        self.sent.borrow_mut().push(bytes);
        true
    }

    fn kick(&self) {
        self.kicks.set(self.kicks.get() + 1);
    }

    fn poll_receive(&self, context: &mut Context<'_>, pieces: &mut Vec<Piece>) -> Poll<()> {
        match self.incoming.borrow_mut().pop_front() {
            Some(frame) => {
                pieces.extend(frame);
                Poll::Ready(())
            }
            None => {
                self.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// A host with a switch, and a card if wanted.
#[derive(Debug)]
pub struct World {
    /// The host.
    pub host: Rc<FakeHost>,
    /// The switch.
    pub switch: Rc<Switch>,
    /// The card, connected or not.
    pub nic: Rc<FakeNic>,
    /// The task of its port.
    pub uplink: Option<Task<()>>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Without a card on the switch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            host: FakeHost::new(),
            switch: Switch::new("xenbr0"),
            nic: Rc::default(),
            uplink: None,
        }
    }

    /// With one.
    #[must_use]
    pub fn with_uplink() -> Self {
        let mut world = Self::new();
        let host: Rc<dyn Host> = world.host.clone();
        let task = world.switch.attach_uplink(host, world.nic.clone());
        world.uplink = Some(Task::new(task));
        world
    }

    /// Lets everything run until nobody is woken any more.
    pub fn run(&mut self, guests: &mut [&mut Guest]) {
        let mut moved = true;
        while moved {
            moved = false;
            for guest in &mut *guests {
                moved |= guest.step();
            }
            if let Some(uplink) = &mut self.uplink {
                moved |= uplink.step().is_some();
            }
        }
    }
}

/// A vif with nothing but an address.
#[must_use]
pub fn options(number: u8) -> Options {
    Options::new(MacAddress(mac(number)))
}
