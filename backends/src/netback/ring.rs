//! One direction of a queue: a ring page, read and answered by index.
//!
//! Our own indices are kept here and only published in the page; what the frontend publishes is
//! read once and bounded. Every request taken is answered, so the responses published always
//! equal the requests taken whenever nothing is under way: another instance resumes from there.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::mem::offset_of;

use guest_abi::PAGE_SIZE;
use guest_abi::io::ring::{Consumer, Overrun, Producer, RingHeader, SLOTS_OFFSET, nr_slots};

use crate::host::{IoMemory, full_barrier};
use crate::xenbus::Refusal;

const REQ_PROD: usize = offset_of!(RingHeader, req_prod);
const REQ_EVENT: usize = offset_of!(RingHeader, req_event);
const RSP_PROD: usize = offset_of!(RingHeader, rsp_prod);
const RSP_EVENT: usize = offset_of!(RingHeader, rsp_event);

/// The backend's end of a ring page whose slots have so many bytes.
pub(super) struct Ring<const SLOT: usize> {
    page: Rc<dyn IoMemory>,
    slots: u32,
    requests: Consumer,
    responses: Producer,
    /// Responses not yet written: they fill whole slots, so that all of them are one copy.
    unwritten: Vec<[u8; SLOT]>,
}

impl<const SLOT: usize> Ring<SLOT> {
    /// Goes on where the frontend was last answered.
    pub(super) fn resume(page: Rc<dyn IoMemory>) -> Self {
        let slots = nr_slots(PAGE_SIZE, SLOT);
        let answered = page.load_u32(RSP_PROD);
        Self {
            page,
            slots,
            requests: Consumer::new(slots, answered),
            responses: Producer::new(slots, answered),
            unwritten: Vec::new(),
        }
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> Result<u32, Overrun> {
        let produced = self.page.load_u32(REQ_PROD);
        full_barrier();
        self.requests
            .available(produced, self.slots.saturating_sub(self.open()))
    }

    /// How many requests were taken and not yet answered for all to see.
    pub(super) fn open(&self) -> u32 {
        self.requests.index().wrapping_sub(self.responses.index())
    }

    /// Copies the first waiting requests without taking them.
    pub(super) fn peek(&self, into: &mut [u8]) {
        let (first, run) = self.run(self.requests.index());
        let (run, wrapped) = into.split_at_mut(into.len().min(run * SLOT));
        self.page.copy_from(place::<SLOT>(first), run);
        if !wrapped.is_empty() {
            self.page.copy_from(place::<SLOT>(0), wrapped);
        }
    }

    /// The slot of an index, and how many there are from it up to the end of the page.
    fn run(&self, index: u32) -> (u32, usize) {
        let first = index & self.slots.wrapping_sub(1);
        (first, self.slots.saturating_sub(first) as usize)
    }

    /// Takes requests that were seen to wait.
    pub(super) fn take(&mut self, count: u32) {
        for _ in 0..count {
            self.requests.take_slot();
        }
    }

    /// Adds the next response; nobody sees it yet.
    pub(super) fn respond(&mut self, response: [u8; SLOT]) {
        self.unwritten.push(response);
    }

    /// The responses that nobody has seen yet.
    pub(super) fn unwritten(&mut self) -> &mut [[u8; SLOT]] {
        &mut self.unwritten
    }

    /// Lets the frontend see the responses; says whether it wants to be told.
    pub(super) fn publish(&mut self) -> bool {
        if self.unwritten.is_empty() {
            return false;
        }
        let (first, run) = self.run(self.responses.index());
        let (run, wrapped) = self.unwritten.split_at(self.unwritten.len().min(run));
        self.page.copy_to(place::<SLOT>(first), run.as_flattened());
        if !wrapped.is_empty() {
            self.page.copy_to(place::<SLOT>(0), wrapped.as_flattened());
        }
        for _ in self.unwritten.drain(..) {
            self.responses.take_slot();
        }
        let published = self.responses.publish();
        full_barrier();
        self.page.store_u32(RSP_PROD, published.new);
        full_barrier();
        published.should_notify(self.page.load_u32(RSP_EVENT))
    }

    /// Asks to be told once `count` requests wait; the caller then looks again.
    pub(super) fn ask(&self, count: u32) {
        let event = self.requests.index().wrapping_add(count);
        self.page.store_u32(REQ_EVENT, event);
        full_barrier();
    }
}

/// Where a slot lies.
fn place<const SLOT: usize>(slot: u32) -> usize {
    SLOTS_OFFSET + slot as usize * SLOT
}

/// Why a frontend that claims too much is disconnected.
pub(super) fn overrun(overrun: Overrun) -> Refusal {
    let Overrun { claimed, possible } = overrun;
    Refusal::new(alloc::format!(
        "a ring claims {claimed} requests, where {possible} are possible"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::SharedPage;
    use crate::host::fake::FakePage;

    fn ring(page: &FakePage) -> Ring<8> {
        Ring::resume(Rc::new(page.clone()))
    }

    #[test]
    fn a_resumed_ring_goes_on_behind_the_last_response() {
        let page = FakePage::new();
        page.store_u32(RSP_PROD, 300);
        page.store_u32(REQ_PROD, 302);
        page.store_u32(SLOTS_OFFSET + 8 * 45, 77);
        let mut ring = ring(&page);
        assert_eq!(ring.waiting(), Ok(2));
        let mut bytes = [0; 16];
        ring.peek(&mut bytes);
        assert_eq!(bytes[8], 77);
        ring.take(2);
        assert_eq!((ring.waiting(), ring.open()), (Ok(0), 2));
        ring.respond([1; 8]);
        ring.respond([2; 8]);
        assert_eq!(ring.open(), 2, "nobody sees them yet");
        page.store_u32(RSP_EVENT, 302);
        assert!(ring.publish());
        assert_eq!(ring.open(), 0);
        ring.page.copy_from(SLOTS_OFFSET + 8 * 44, &mut bytes);
        assert_eq!((bytes[7], bytes[8]), (1, 2));
        assert_eq!(page.load_u32(RSP_PROD), 302);
        assert!(!ring.publish(), "nothing new");
    }

    #[test]
    fn a_batch_that_wraps_is_read_in_order() {
        let page = FakePage::new();
        page.store_u32(RSP_PROD, 255);
        page.store_u32(REQ_PROD, 257);
        page.store_u32(SLOTS_OFFSET + 8 * 255, 1);
        page.store_u32(SLOTS_OFFSET, 2);
        let mut bytes = [0; 16];
        ring(&page).peek(&mut bytes);
        assert_eq!((bytes[0], bytes[8]), (1, 2));
    }

    #[test]
    fn responses_that_wrap_are_written_in_order() {
        let page = FakePage::new();
        page.store_u32(RSP_PROD, 254);
        page.store_u32(REQ_PROD, 257);
        let mut ring = ring(&page);
        ring.take(3);
        (1..=3).for_each(|byte| ring.respond([byte; 8]));
        ring.publish();
        let mut bytes = [0; 16];
        page.copy_from(SLOTS_OFFSET + 8 * 254, &mut bytes);
        assert_eq!((bytes[0], bytes[15]), (1, 2));
        page.copy_from(SLOTS_OFFSET, &mut bytes);
        assert_eq!((bytes[0], bytes[8]), (3, 0));
    }

    #[test]
    fn more_requests_than_free_slots_are_an_overrun() {
        let page = FakePage::new();
        page.store_u32(REQ_PROD, 10);
        let mut ring = ring(&page);
        assert_eq!(ring.waiting(), Ok(10));
        ring.take(10);
        page.store_u32(REQ_PROD, 256);
        assert_eq!(ring.waiting(), Ok(246));
        page.store_u32(REQ_PROD, 257);
        assert!(ring.waiting().is_err());
        page.store_u32(REQ_PROD, 9);
        assert!(ring.waiting().is_err(), "an index must not go back");
    }
}
