//! The front's half of a ring: requests go out, responses come back.
//!
//! The ring lies in pages lent to the backend, which may write anything there at any time. This
//! half believes its own indices only: a backend that claims to have answered more than was asked
//! gets [`Overrun`], and messages are copied out before they are looked at.

use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use guest_abi::{
    DomId, Errno, Mfn,
    ids::{DomIdArg, GrantRef},
    io::ring::{Consumer, Overrun, Producer, SLOTS_OFFSET, nr_slots},
    zerocopy::FromBytes,
};

use crate::{
    arch::{
        bytes::SharedBytes,
        window::{Access, Mapping},
    },
    grants::{Grant, GrantTable},
};

/// Offsets in the ring's header.
const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 4;
const RSP_PROD: usize = 8;
const RSP_EVENT: usize = 12;

/// Pages lent to the backend, side by side.
#[derive(Debug)]
struct RingMemory {
    /// All of them in a row, if there are several. Goes before the pages.
    joined: Option<Mapping>,
    pages: Vec<Grant>,
}

impl RingMemory {
    fn new(grants: &GrantTable, backend: DomId, order: u32) -> Result<Self, Errno> {
        let count = 1_usize << order;
        let pages: Result<Vec<_>, _> = (0..count).map(|_| grants.lend(backend)).collect();
        let pages = pages?;
        let mut joined = None;
        if count > 1 {
            let frames: Vec<Mfn> = pages.iter().map(Grant::frame).collect();
            let owner = DomId::new(DomIdArg::SELF.get());
            let mapping = Mapping::foreign(owner, &frames, Access::ReadWrite);
            joined = Some(mapping.map_err(|error| error.errno)?);
        }
        Ok(Self { joined, pages })
    }

    fn bytes(&self) -> &SharedBytes {
        match &self.joined {
            Some(mapping) => mapping,
            // There is always at least one page.
            None => &self.pages[0],
        }
    }
}

/// A ring, from the front.
#[derive(Debug)]
pub struct FrontRing {
    memory: RingMemory,
    slot_size: usize,
    slots: u32,
    requests: Producer,
    responses: Consumer,
    /// The backend's index, as far as it was looked at.
    answered: u32,
}

impl FrontRing {
    /// An empty ring of `1 << order` pages, lent to `backend`; a slot holds the larger of request
    /// and response.
    ///
    /// # Errors
    ///
    /// When there is no page, reference or place for it.
    pub fn new(
        grants: &GrantTable,
        backend: DomId,
        order: u32,
        slot_size: usize,
    ) -> Result<Self, Errno> {
        let memory = RingMemory::new(grants, backend, order)?;
        let slots = nr_slots(memory.bytes().len(), slot_size);
        let bytes = memory.bytes();
        bytes.u32(REQ_EVENT).store(1, Ordering::Relaxed);
        bytes.u32(RSP_EVENT).store(1, Ordering::Release);
        Ok(Self {
            memory,
            slot_size,
            slots,
            requests: Producer::new(slots, 0),
            responses: Consumer::new(slots, 0),
            answered: 0,
        })
    }

    /// How the backend finds the ring's pages.
    pub fn references(&self) -> impl Iterator<Item = GrantRef> + '_ {
        self.memory.pages.iter().map(Grant::reference)
    }

    /// Slots in the ring.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Requests that are on the ring or with the backend.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.requests.index().wrapping_sub(self.responses.index())
    }

    /// Requests for which there is room.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.slots.saturating_sub(self.in_flight())
    }

    /// The slot of the next response. On a ring where answers come in order, it names the request.
    #[must_use]
    pub fn response_slot(&self) -> usize {
        (self.responses.index() & self.slots.wrapping_sub(1)) as usize
    }

    /// The slot of the next request.
    #[must_use]
    pub fn request_slot(&self) -> usize {
        (self.requests.index() & self.slots.wrapping_sub(1)) as usize
    }

    /// Writes a request; the backend sees it when it is [published](Self::publish). The caller has
    /// made sure that there is room, and that the message fits a slot.
    #[inline]
    pub fn push(&mut self, message: &[u8]) {
        debug_assert!(message.len() <= self.slot_size, "beyond a slot");
        let slot = self.requests.take_slot();
        let offset = self.offset(slot);
        self.memory.bytes().write(offset, message);
    }

    /// Shows the backend what was pushed; whether it wants to be told.
    #[must_use]
    pub fn publish(&mut self) -> bool {
        let published = self.requests.publish();
        if published.old == published.new {
            return false;
        }
        let bytes = self.memory.bytes();
        bytes.u32(REQ_PROD).store(published.new, Ordering::Release);
        fence(Ordering::SeqCst);
        published.should_notify(bytes.u32(REQ_EVENT).load(Ordering::Relaxed))
    }

    /// Copies the next response out, if there is one. It fits a slot: the caller knows its ring.
    ///
    /// # Errors
    ///
    /// When the backend claims more than can be.
    #[inline]
    pub fn pop<T: FromBytes>(&mut self) -> Result<Option<T>, Overrun> {
        if self.answered == self.responses.index() && !self.look()? {
            return Ok(None);
        }
        debug_assert!(size_of::<T>() <= self.slot_size, "beyond a slot");
        let slot = self.responses.take_slot();
        let offset = self.offset(slot);
        Ok(Some(self.memory.bytes().load(offset)))
    }

    /// Looks how far the backend has come; whether there are responses.
    fn look(&mut self) -> Result<bool, Overrun> {
        let produced = self.memory.bytes().u32(RSP_PROD).load(Ordering::Acquire);
        self.responses.available(produced, self.in_flight())?;
        self.answered = produced;
        Ok(self.answered != self.responses.index())
    }

    /// Asks to be told of the next response; whether one is there already, which nobody tells.
    #[must_use]
    pub fn arm(&mut self) -> bool {
        let bytes = self.memory.bytes();
        bytes
            .u32(RSP_EVENT)
            .store(self.responses.event(), Ordering::Release);
        fence(Ordering::SeqCst);
        bytes.u32(RSP_PROD).load(Ordering::Acquire) != self.responses.index()
    }

    /// The ring as it lies in memory. A driver has no use for it; a kernel that tests its backend
    /// has.
    #[must_use]
    pub fn bytes(&self) -> &SharedBytes {
        self.memory.bytes()
    }

    fn offset(&self, slot: u32) -> usize {
        SLOTS_OFFSET + slot as usize * self.slot_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> FrontRing {
        FrontRing::new(&GrantTable::fake(), DomId::new(0), 0, 112).unwrap()
    }

    /// Answers the first `count` requests with bytes of 7.
    fn answer(ring: &FrontRing, count: u32) {
        for slot in 0..count.min(32) {
            ring.bytes().fill(64 + slot as usize * 112, 16, 7);
        }
        ring.bytes().u32(RSP_PROD).store(count, Ordering::Release);
    }

    #[test]
    fn a_fresh_ring_asks_to_be_told_of_everything() {
        let mut ring = ring();
        assert_eq!(ring.slots(), 32);
        assert!(!ring.publish());
        ring.push(&[1; 112]);
        assert!(ring.publish());
        ring.push(&[2; 112]);
        assert!(!ring.publish(), "the backend has not asked again");
    }

    #[test]
    fn responses_come_once_each() {
        let mut ring = ring();
        ring.push(&[1; 112]);
        let _ = ring.publish();
        assert_eq!(ring.pop::<[u8; 16]>(), Ok(None));
        assert!(!ring.arm());
        answer(&ring, 1);
        assert!(ring.arm());
        assert_eq!(ring.pop(), Ok(Some([7_u8; 16])));
        assert_eq!(ring.pop::<[u8; 16]>(), Ok(None));
        assert_eq!(ring.free(), 32);
    }

    #[test]
    fn an_answer_to_what_was_not_asked_is_an_overrun() {
        let mut ring = ring();
        ring.push(&[1; 112]);
        let _ = ring.publish();
        answer(&ring, 2);
        assert!(ring.pop::<[u8; 16]>().is_err());
        answer(&ring, u32::MAX);
        assert!(ring.pop::<[u8; 16]>().is_err());
    }
}
