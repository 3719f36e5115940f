//! A frontend's end of a ring.

use crate::host::SharedPage;
use crate::host::fake::FakePage;

const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 4;
const RSP_PROD: usize = 8;
const RSP_EVENT: usize = 12;

/// The front end of a ring.
#[derive(Debug)]
pub struct FrontRing {
    /// The ring's page.
    pub page: FakePage,
    slot: usize,
    /// Requests written so far.
    pub produced: u32,
    pub(super) consumed: u32,
}

impl FrontRing {
    /// A ring whose slots have so many bytes.
    #[must_use]
    pub fn new(slot: usize) -> Self {
        let mut ring = Self {
            page: FakePage::new(),
            slot,
            produced: 0,
            consumed: 0,
        };
        ring.reset();
        ring
    }

    /// As in the beginning.
    pub(super) fn reset(&mut self) {
        (self.produced, self.consumed) = (0, 0);
        for (offset, value) in [(REQ_PROD, 0), (REQ_EVENT, 1), (RSP_PROD, 0), (RSP_EVENT, 1)] {
            self.page.store_u32(offset, value);
        }
    }

    fn place(&self, index: u32) -> usize {
        64 + (index % 256) as usize * self.slot
    }

    /// Writes a request.
    pub fn push(&mut self, bytes: &[u8]) {
        self.page.copy_to(self.place(self.produced), bytes);
        self.produced = self.produced.wrapping_add(1);
    }

    /// Publishes; whether the backend wants to be told.
    pub fn publish(&mut self) -> bool {
        let old = self.page.load_u32(REQ_PROD);
        self.page.store_u32(REQ_PROD, self.produced);
        let event = self.page.load_u32(REQ_EVENT);
        self.produced.wrapping_sub(event) < self.produced.wrapping_sub(old)
    }

    pub(super) fn pop(&mut self) -> Option<[u8; 8]> {
        if self.consumed == self.page.load_u32(RSP_PROD) {
            self.page
                .store_u32(RSP_EVENT, self.consumed.wrapping_add(1));
            return None;
        }
        let mut bytes = [0; 8];
        let at = self.place(self.consumed);
        self.page.copy_from(at, &mut bytes);
        self.consumed = self.consumed.wrapping_add(1);
        Some(bytes)
    }

    /// Requests that were answered.
    #[must_use]
    pub fn answered(&self) -> u32 {
        self.page.load_u32(RSP_PROD)
    }
}
