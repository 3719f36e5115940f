//! One direction of a queue: a ring page, read and answered by index.
//!
//! Our own indices are kept here and only published in the page; what the frontend publishes is
//! read once and bounded. Every request taken is answered, so the responses published always
//! equal the requests taken whenever nothing is under way: another instance resumes from there.

use alloc::rc::Rc;
use core::mem::offset_of;

use guest_abi::PAGE_SIZE;
use guest_abi::io::ring::{Consumer, Overrun, Producer, RingHeader, SLOTS_OFFSET, nr_slots};

use crate::host::{IoMemory, full_barrier};
use crate::xenbus::Refusal;

const REQ_PROD: usize = offset_of!(RingHeader, req_prod);
const REQ_EVENT: usize = offset_of!(RingHeader, req_event);
const RSP_PROD: usize = offset_of!(RingHeader, rsp_prod);
const RSP_EVENT: usize = offset_of!(RingHeader, rsp_event);

/// The backend's end of a ring page.
pub(super) struct Ring {
    page: Rc<dyn IoMemory>,
    slot_size: usize,
    slots: u32,
    requests: Consumer,
    responses: Producer,
}

impl Ring {
    /// Goes on where the frontend was last answered.
    pub(super) fn resume(page: Rc<dyn IoMemory>, slot_size: usize) -> Self {
        let slots = nr_slots(PAGE_SIZE, slot_size);
        let answered = page.load_u32(RSP_PROD);
        Self {
            page,
            slot_size,
            slots,
            requests: Consumer::new(slots, answered),
            responses: Producer::new(slots, answered),
        }
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> Result<u32, Overrun> {
        let produced = self.page.load_u32(REQ_PROD);
        full_barrier();
        self.requests
            .available(produced, self.slots.saturating_sub(self.open()))
    }

    /// How many requests were taken and not yet answered.
    pub(super) fn open(&self) -> u32 {
        self.requests.index().wrapping_sub(self.responses.index())
    }

    /// Copies the first waiting requests without taking them.
    pub(super) fn peek(&self, into: &mut [u8]) {
        let first = self.requests.index() & self.slots.wrapping_sub(1);
        let run = self.slots.saturating_sub(first) as usize * self.slot_size;
        let (run, wrapped) = into.split_at_mut(into.len().min(run));
        self.page.copy_from(self.place(first), run);
        if !wrapped.is_empty() {
            self.page.copy_from(self.place(0), wrapped);
        }
    }

    /// Takes requests that were seen to wait.
    pub(super) fn take(&mut self, count: u32) {
        for _ in 0..count {
            self.requests.take_slot();
        }
    }

    /// Writes the next response; nobody sees it yet.
    pub(super) fn respond(&mut self, words: &[u32]) {
        let at = self.responses.take_slot();
        let at = self.place(at);
        for (index, &word) in words.iter().enumerate() {
            self.page.store_u32(at + 4 * index, word);
        }
    }

    /// Lets the frontend see the responses; says whether it wants to be told.
    pub(super) fn publish(&mut self) -> bool {
        let published = self.responses.publish();
        if published.old == published.new {
            return false;
        }
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

    fn place(&self, slot: u32) -> usize {
        SLOTS_OFFSET + slot as usize * self.slot_size
    }
}

/// Why a frontend that claims too much is disconnected.
pub(super) fn overrun(overrun: Overrun) -> Refusal {
    let Overrun { claimed, possible } = overrun;
    Refusal::new(alloc::format!(
        "a ring claims {claimed} requests, where {possible} are possible"
    ))
}

/// Two 16-bit fields as they lie side by side in a slot.
pub(super) fn word(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::SharedPage;
    use crate::host::fake::FakePage;

    fn ring(page: &FakePage) -> Ring {
        Ring::resume(Rc::new(page.clone()), 8)
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
        ring.respond(&[word(1, 2), 3]);
        ring.respond(&[4, 5]);
        page.store_u32(RSP_EVENT, 302);
        assert!(ring.publish());
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
