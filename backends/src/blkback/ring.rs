//! A ring as the backend sees it: requests out, responses in.
//!
//! The guest may write every byte of it at any moment. So the producer's index is read once and
//! must be possible, a slot is copied out before anybody looks at it, and our own indices are
//! kept here and only published there.
//!
//! Order: index, (read barrier) slots; responses, (write barrier) our index, (full barrier) the
//! event the guest asked for; our event, (full barrier) the index once more.

use alloc::rc::Rc;
use core::fmt;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{Ordering, fence};

use guest_abi::io::blkif::{Response, SLOT_SIZE};
use guest_abi::io::ring::{Consumer, Overrun, Producer, RingHeader, SLOTS_OFFSET, nr_slots};
use guest_abi::zerocopy::IntoBytes;

use crate::host::{IoMemory, full_barrier};

const REQ_PROD: usize = offset_of!(RingHeader, req_prod);
const REQ_EVENT: usize = offset_of!(RingHeader, req_event);
const RSP_PROD: usize = offset_of!(RingHeader, rsp_prod);
const RSP_EVENT: usize = offset_of!(RingHeader, rsp_event);

/// A request as it lay in its slot.
pub(super) type Slot = [u8; SLOT_SIZE];

/// The backend's end of a ring.
pub(super) struct BlkRing {
    memory: Rc<dyn IoMemory>,
    slots: u32,
    requests: Consumer,
    responses: Producer,
}

impl fmt::Debug for BlkRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlkRing")
            .field("slots", &self.slots)
            .field("requests", &self.requests)
            .field("responses", &self.responses)
            .finish_non_exhaustive()
    }
}

impl BlkRing {
    /// A ring over mapped pages. Whoever served it before has answered all it had taken, so
    /// both our indices are where it stopped.
    pub(super) fn attach(memory: Rc<dyn IoMemory>) -> Result<Self, Overrun> {
        let slots = nr_slots(memory.len(), SLOT_SIZE);
        let answered = memory.load_u32(RSP_PROD);
        let ring = Self {
            slots,
            requests: Consumer::new(slots, answered),
            responses: Producer::new(slots, answered),
            memory,
        };
        ring.waiting().map(|_| ring)
    }

    /// How many requests wait; never more than there are slots left for their responses.
    pub(super) fn waiting(&self) -> Result<u32, Overrun> {
        let produced = self.memory.load_u32(REQ_PROD);
        let possible = self.slots.saturating_sub(self.unanswered());
        let waiting = self.requests.available(produced, possible)?;
        fence(Ordering::Acquire);
        Ok(waiting)
    }

    /// Requests taken and not answered yet.
    pub(super) fn unanswered(&self) -> u32 {
        self.requests.index().wrapping_sub(self.responses.index())
    }

    /// Copies the next request out; [`waiting`](Self::waiting) has said that there is one.
    pub(super) fn take(&mut self) -> Slot {
        let mut slot = [0; SLOT_SIZE];
        let offset = slot_offset(self.requests.take_slot());
        self.memory.copy_from(offset, &mut slot);
        slot
    }

    /// Writes a response, for a request that was taken; the guest sees it when it is published.
    pub(super) fn respond(&mut self, response: &Response) {
        let offset = slot_offset(self.responses.take_slot());
        self.memory.copy_to(offset, response.as_bytes());
    }

    /// Publishes the responses written since the last time. True if the guest must be told.
    pub(super) fn publish(&mut self) -> bool {
        let published = self.responses.publish();
        if published.old == published.new {
            return false;
        }
        fence(Ordering::Release);
        self.memory.store_u32(RSP_PROD, published.new);
        full_barrier();
        published.should_notify(self.memory.load_u32(RSP_EVENT))
    }

    /// Asks to be told when `after` more requests than the next are there, and looks once more:
    /// true if there are some now already.
    pub(super) fn arm(&self, after: u32) -> Result<bool, Overrun> {
        let event = self.requests.event().wrapping_add(after);
        self.memory.store_u32(REQ_EVENT, event);
        full_barrier();
        Ok(self.waiting()? > after)
    }
}

fn slot_offset(slot: u32) -> usize {
    SLOTS_OFFSET + usize::try_from(slot).unwrap_or(0) * SLOT_SIZE
}

// A response fits where its request lay.
const _: () = assert!(size_of::<Response>() <= SLOT_SIZE);
