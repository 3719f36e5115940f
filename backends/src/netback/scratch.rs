//! What a pass over a queue works with.
//!
//! Passes don't nest and don't wait, so one is enough for all the vifs of a switch; and what it
//! allocates is kept from one pass to the next.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;

use guest_abi::grant_table::CopyEnd;
use guest_abi::{Errno, PAGE_SIZE};

use super::frames::Frames;
use super::offload::Gathered;
use super::packet::HEADER;
use super::plan::{Part, Plan};
use super::tx::validate::{Request, Slot};
use crate::host::{Host, IoMemory};

/// Bytes from one header to the next.
const STRIDE: usize = 256;

/// How a packet is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It got somewhere.
    Sent,
    /// It did not.
    Dropped,
    /// It waits for its receiver, which will answer it.
    Held,
}

/// A packet taken from a guest's ring.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) request: Request,
    /// Its slots, among those of the pass.
    pub(super) slots: Range<usize>,
    /// Bytes of it that we have a copy of.
    pub(super) header_len: u16,
    pub(super) fate: Fate,
}

/// The workbench.
pub(super) struct Scratch {
    headers: Rc<dyn IoMemory>,
    /// How copies name the place of each header.
    pub(super) places: Vec<CopyEnd>,
    pub(super) raw: Vec<u8>,
    pub(super) slots: Vec<Slot>,
    pub(super) packets: Vec<Packet>,
    pub(super) parts: Vec<Part>,
    pub(super) plan: Plan,
    pub(super) gathered: Vec<Gathered>,
    pub(super) frames: Frames,
}

impl Scratch {
    /// Packets worked on in one pass.
    pub(super) const BATCH: usize = 32;

    pub(super) fn new(host: &dyn Host) -> Result<Self, Errno> {
        let headers = host.pages((Self::BATCH * STRIDE).div_ceil(PAGE_SIZE))?;
        let place = |index| host.own(&headers, index * STRIDE);
        Ok(Self {
            places: (0..Self::BATCH).map(place).collect(),
            headers,
            raw: Vec::new(),
            slots: Vec::new(),
            packets: Vec::new(),
            parts: Vec::new(),
            plan: Plan::default(),
            gathered: Vec::new(),
            frames: Frames::default(),
        })
    }

    /// Clears the bench.
    pub(super) fn begin(&mut self) {
        self.slots.clear();
        self.packets.clear();
        self.gathered.clear();
        self.plan.clear();
    }

    /// How copies name the place of a header.
    pub(super) fn header_place(&self, index: usize) -> CopyEnd {
        // Nobody has this grant, so nothing is copied from or to where no header is.
        self.places.get(index).copied().unwrap_or_default()
    }

    /// Lets go of everybody who took part.
    pub(super) fn end(&mut self) {
        self.plan.clear();
        self.gathered.clear();
    }

    /// Puts a header in its place.
    pub(super) fn put_header(&self, index: usize, header: &[u8]) {
        self.headers.copy_to(index * STRIDE, header);
    }

    /// Reads a header that was copied to its place.
    pub(super) fn get_header<'a>(
        &self,
        index: usize,
        len: u16,
        into: &'a mut [u8; HEADER],
    ) -> &'a [u8] {
        let into = into.get_mut(..len.into()).unwrap_or_default();
        self.headers.copy_from(index * STRIDE, into);
        into
    }
}
