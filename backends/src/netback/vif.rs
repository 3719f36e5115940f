//! A connected frontend: its queues, and its place on the switch.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::Range;

use guest_abi::DomId;
use guest_abi::io::netif::NetStatus;

use super::offload::Abilities;
use super::packet;
use super::pool::Pool;
use super::rate::Bucket;
use super::rx::RxQueue;
use super::scratch::Scratch;
use super::spoof::Identity;
use super::stats::Counters;
use super::switch::{PortId, Switch};
use super::tx::TxQueue;
use super::tx::validate::{Request, Slot};
use crate::host::{Channel, Host};
use crate::signal::Signal;
use crate::xenbus::Refusal;

/// A pair of rings.
pub(super) struct Queue {
    pub(super) tx: RefCell<TxQueue>,
    pub(super) rx: RefCell<RxQueue>,
    pub(super) tx_channel: Rc<dyn Channel>,
    /// `None` if there is one channel for both.
    pub(super) rx_channel: Option<Rc<dyn Channel>>,
}

impl Queue {
    fn rx_channel(&self) -> &dyn Channel {
        self.rx_channel.as_deref().unwrap_or(&*self.tx_channel)
    }
}

/// A connected frontend.
pub(super) struct Vif {
    pub(super) host: Rc<dyn Host>,
    pub(super) switch: Rc<Switch>,
    pub(super) scratch: Rc<RefCell<Scratch>>,
    pub(super) port: Cell<Option<PortId>>,
    pub(super) domain: DomId,
    pub(super) identity: Identity,
    pub(super) bucket: Option<RefCell<Bucket>>,
    /// What the frontend takes.
    pub(super) abilities: Abilities,
    /// The frontend says when it has posted buffers.
    pub(super) notifies: bool,
    pub(super) queues: Vec<Queue>,
    pub(super) counters: Rc<Counters>,
    pub(super) pool: RefCell<Pool>,
    /// Frames cut from its packets that wait for a receiver.
    pub(super) frames_held: Rc<Cell<usize>>,
    /// What it did wrong, as seen by others.
    pub(super) refusal: RefCell<Option<Refusal>>,
    /// Its task is to have a look.
    pub(super) signal: Signal,
}

impl Vif {
    /// Which queue a packet is for.
    pub(super) fn choose(&self, header: &[u8]) -> usize {
        match self.queues.len() {
            0 | 1 => 0,
            count => packet::flow(header) as usize % count,
        }
    }

    /// It broke the rules: its own task disconnects it.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.refusal.borrow_mut().get_or_insert(refusal);
        self.signal.notify();
    }

    /// Its queues, by reference.
    pub(super) fn refs(self: &Rc<Self>) -> impl Iterator<Item = QueueRef> + '_ {
        (0..self.queues.len()).map(|index| QueueRef {
            vif: self.clone(),
            index,
        })
    }

    /// Leaves the switch. All that was taken from its rings is answered then, and nobody holds
    /// anything of it.
    pub(super) fn detach(self: &Rc<Self>) {
        let Some(port) = self.port.take() else {
            return;
        };
        self.switch.remove(port);
        let mut scratch = self.scratch.borrow_mut();
        scratch.begin();
        let plan = &mut scratch.plan;
        for queue in self.refs() {
            plan.party(&queue);
            let Some(ends) = queue.get() else { continue };
            let held = ends.rx.borrow_mut().take_held(None);
            held.into_iter()
                .for_each(|held| held.end(plan, NetStatus::Dropped));
        }
        for other in self.switch.vifs() {
            for queue in &other.queues {
                let held = queue.rx.borrow_mut().take_held(Some(self));
                held.into_iter()
                    .for_each(|held| held.end(plan, NetStatus::Dropped));
            }
        }
        plan.answer();
        scratch.end();
    }
}

/// A queue of a vif. Clones are the same.
#[derive(Clone)]
pub(super) struct QueueRef {
    pub(super) vif: Rc<Vif>,
    pub(super) index: usize,
}

impl QueueRef {
    pub(super) fn get(&self) -> Option<&Queue> {
        self.vif.queues.get(self.index)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.index == other.index && Rc::ptr_eq(&self.vif, &other.vif)
    }

    /// Its guest broke the rules.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.vif.refuse(refusal);
    }

    /// Lets the guest see what it has got.
    pub(super) fn announce(&self) {
        if let Some(queue) = self.get()
            && queue.rx.borrow_mut().announce()
        {
            queue.rx_channel().notify();
        }
    }

    /// The packet that these responses announce did not arrive.
    pub(super) fn spoil(&self, responses: Range<usize>) {
        if let Some(queue) = self.get() {
            queue.rx.borrow_mut().spoil(responses);
        }
    }

    /// Answers a packet of the guest's that was held.
    pub(super) fn release(&self, request: &Request, slots: &[Slot], status: NetStatus) {
        if let Some(queue) = self.get() {
            let mut tx = queue.tx.borrow_mut();
            tx.unhold(slots.len() + usize::from(request.extras));
            tx.respond(request, slots, status);
        }
    }

    /// Lets the guest see which of its packets are done.
    pub(super) fn answer(&self) {
        if let Some(queue) = self.get()
            && queue.tx.borrow_mut().publish()
        {
            queue.tx_channel.notify();
        }
    }
}
