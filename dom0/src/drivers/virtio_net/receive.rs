//! Frames on their way in.
//!
//! ```text
//!   pages ─▶ ring ─▶ device ─▶ take: a frame in one page, or in several ─▶ reader
//!     ▲                                                                      │
//!     └──────────────────────────────── give_back ◀──────────────────────────┘
//! ```
//!
//! How long a frame is and how many pages it takes is the device's word. A frame of pages that it
//! does not have or does not bring, without a byte or longer than any is dropped, and its pages are
//! lent anew.

use alloc::rc::Rc;
use alloc::vec::Vec;

use guest_abi::{Errno, PAGE_SIZE};

use super::config::{HEADER_BYTES, LONGEST_FRAME};
use crate::drivers::dma::DmaPage;
use crate::drivers::ring::{Ring, Segment};

/// In the header of a frame: how many pages it takes. Virtio 1.2, 5.1.6.
const BUFFERS: usize = 10;

/// A part of a frame, in one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Whose page.
    pub(super) slot: u16,
    /// From which byte on.
    pub(super) offset: usize,
    /// How many; not 0.
    pub(super) len: usize,
}

/// The way in.
#[derive(Debug)]
pub(super) struct Receive<M> {
    ring: Ring<M>,
    /// A page for each slot of the ring.
    pages: Rc<[M]>,
    /// Which of them the device has.
    lent: Vec<bool>,
    /// A frame may take several.
    mergeable: bool,
}

impl<M: DmaPage> Receive<M> {
    /// A way in with a page for each of `size` slots, all of them offered to the device.
    pub(super) fn new(size: u16, mergeable: bool) -> Result<Self, Errno> {
        let pages: Result<Rc<[M]>, _> = (0..size).map(|_| M::zeroed()).collect();
        let mut receive = Self {
            ring: Ring::new(size)?,
            pages: pages?,
            lent: alloc::vec![false; size.into()],
            mergeable,
        };
        for (slot, page) in (0..size).zip(receive.pages.iter()) {
            let segment = Segment {
                address: page.machine_address(),
                len: u32::try_from(PAGE_SIZE).unwrap_or(0),
                device_writes: true,
            };
            receive.ring.set_buffer(slot, segment);
        }
        (0..size).for_each(|slot| receive.give_back(slot));
        Ok(receive)
    }

    /// The ring below.
    pub(super) fn ring(&self) -> &Ring<M> {
        &self.ring
    }

    /// The pages that frames come in, by slot.
    pub(super) fn pages(&self) -> &Rc<[M]> {
        &self.pages
    }

    /// Lends a page to the device, unless it has it.
    pub(super) fn give_back(&mut self, slot: u16) {
        if let Some(lent) = self.lent.get_mut(usize::from(slot))
            && !core::mem::replace(lent, true)
        {
            self.ring.offer(slot);
        }
    }

    /// Fills `parts` with the next frame that came in, its header left out; `false` if there is
    /// none. The pages are the reader's until given back.
    pub(super) fn take(&mut self, parts: &mut Vec<Part>) -> bool {
        loop {
            parts.clear();
            let Some(first) = self.take_page(HEADER_BYTES) else {
                return false;
            };
            let missing = self.take_rest(first, parts);
            let len: usize = parts.iter().map(|part| part.len).sum();
            let is_sound = !missing && parts.iter().all(|part| part.len > 0);
            if is_sound && len <= LONGEST_FRAME {
                return true;
            }
            parts.drain(..).for_each(|part| self.give_back(part.slot));
        }
    }

    /// Takes as many pages as the first one announces; whether any of them is missing.
    fn take_rest(&mut self, first: Part, parts: &mut Vec<Part>) -> bool {
        let header = self.pages.get(usize::from(first.slot));
        let count = match header.filter(|_| self.mergeable) {
            Some(page) => page.load_u16(BUFFERS),
            None => 1,
        };
        parts.push(first);
        for _ in 1..count {
            match self.take_page(0) {
                Some(part) => parts.push(part),
                None => return true,
            }
        }
        count == 0
    }

    /// The next page that the device is done with, behind its first bytes. Nothing lies in one
    /// that it says to have overrun.
    fn take_page(&mut self, skip: usize) -> Option<Part> {
        loop {
            let (slot, written) = self.ring.take()?;
            let lent = self.lent.get_mut(usize::from(slot));
            if lent.is_some_and(core::mem::take) {
                let written = (written as usize).checked_sub(skip);
                return Some(Part {
                    slot,
                    offset: skip,
                    len: written.filter(|len| skip + len <= PAGE_SIZE).unwrap_or(0),
                });
            }
        }
    }

    /// Says whether the device is to interrupt for frames.
    pub(super) fn set_interrupts(&self, wanted: bool) {
        self.ring.set_interrupts(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::dma::fake::{FakePage, page_at};
    use crate::drivers::ring::device::FakeDevice;

    const SIZE: u16 = 32;
    const PAGE: u32 = 4096;

    struct Rig {
        receive: Receive<FakePage>,
        device: FakeDevice,
    }

    impl Rig {
        fn new(mergeable: bool) -> Self {
            let receive = Receive::new(SIZE, mergeable).unwrap();
            let device = FakeDevice::on(receive.ring());
            Self { receive, device }
        }

        /// The device fills pages, and claims that there are `count`.
        fn bring(&mut self, count: u16, lens: &[u32]) {
            for (index, len) in lens.iter().enumerate() {
                let (slot, segments) = self.device.next().unwrap();
                if index == 0 {
                    page_at(segments[0].address).store_u16(BUFFERS, count);
                }
                self.device.done(slot, *len);
            }
        }

        /// The lengths of the next frame's parts, which are given back.
        fn take(&mut self) -> Option<Vec<usize>> {
            let mut parts = Vec::new();
            let taken = self.receive.take(&mut parts);
            let lens = parts.iter().map(|part| part.len).collect();
            for part in parts {
                self.receive.give_back(part.slot);
            }
            taken.then_some(lens)
        }

        fn pages_lent(&self) -> usize {
            self.receive.lent.iter().filter(|lent| **lent).count()
        }
    }

    #[test]
    fn frames_of_one_page_and_of_several_arrive_without_their_header() {
        let mut rig = Rig::new(true);
        for _ in 0..50 {
            rig.bring(1, &[72]);
            rig.bring(3, &[PAGE, PAGE, 834]);
            assert_eq!(rig.take(), Some(vec![60]));
            assert_eq!(rig.take(), Some(vec![4084, 4096, 834]));
            assert_eq!(rig.take(), None);
        }
        // The longest there is.
        let mut lens = [PAGE; 17];
        lens[16] = 29;
        rig.bring(17, &lens);
        let parts = rig.take().unwrap();
        assert_eq!(parts.iter().sum::<usize>(), LONGEST_FRAME);
        assert_eq!(rig.pages_lent(), 32);
    }

    #[test]
    fn a_device_without_mergeable_buffers_is_not_asked_for_their_number() {
        let mut rig = Rig::new(false);
        rig.bring(9, &[72]);
        assert_eq!(rig.take(), Some(vec![60]));
    }

    #[test]
    fn frames_that_do_not_fit_are_dropped_and_their_pages_lent_again() {
        let mut long = [PAGE; 17];
        long[16] = 30;
        let bad: [(u16, &[u32]); 9] = [
            (0, &[72]),
            (1, &[0]),
            (1, &[12]),
            (1, &[PAGE + 1]),
            (1, &[u32::MAX]),
            (2, &[PAGE, 0]),
            (2, &[PAGE, PAGE + 1]),
            (17, &long),
            (18, &[PAGE; 18]),
        ];
        let mut rig = Rig::new(true);
        for (count, lens) in bad {
            rig.bring(count, lens);
            rig.bring(1, &[72]);
            assert_eq!(rig.take(), Some(vec![60]), "{count} pages of {lens:?}");
            assert_eq!(rig.take(), None);
            assert_eq!(rig.pages_lent(), 32);
        }
        // More than the device has brought so far: what is there is not believed either.
        for count in [2, 40, u16::MAX] {
            rig.bring(count, &[PAGE]);
            assert_eq!(rig.take(), None);
            assert_eq!(rig.pages_lent(), 32);
        }
    }

    #[test]
    fn a_page_that_the_device_does_not_have_is_not_taken() {
        let mut rig = Rig::new(true);
        rig.bring(1, &[72]);
        let mut parts = Vec::new();
        assert!(rig.receive.take(&mut parts));
        // The reader has it now.
        rig.device.done(parts[0].slot, 72);
        rig.device.done(SIZE, 72);
        rig.device.done(u16::MAX, 72);
        assert_eq!(rig.take(), None);
        rig.receive.give_back(parts[0].slot);
        rig.receive.give_back(parts[0].slot);
        assert_eq!(rig.pages_lent(), 32);
    }
}
