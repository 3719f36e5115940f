//! Receiving: pages lie with the backend, which copies frames into them.
//!
//! Answers come in the order of the ring, so a slot has a page of its own for good, and a frame of
//! several slots mostly lies in a row. Then its pages are called back for as long as it is looked
//! at, which is cheaper than copying it; otherwise it is put together here. Everything that the
//! backend says about offsets and lengths is checked; nonsense breaks the device.

use guest_abi::{
    DomId, Errno, PAGE_SIZE,
    io::netif::{EXTRA_FLAG_MORE, ExtraInfo, ExtraType, RxFlags, RxRequest, RxResponse},
    zerocopy::{IntoBytes, transmute},
};

use super::{Checksum, Received, coming::Coming};
use crate::{
    arch::lent::LentPages,
    grants::{GrantTable, Permit},
    ring::FrontRing,
    xenbus::DeviceError,
};

/// Bytes of a slot.
pub(super) const SLOT: usize = size_of::<RxRequest>();
/// The most slots that one frame may take: its pages, and more than anybody tells of a frame.
const MOST_SLOTS: u32 = 32;

/// What the next slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The first piece of a frame.
    Frame,
    /// Something about the frame; whether data follows.
    Extra { more_data: bool },
    /// Another piece.
    Data,
}

/// The ring of frames on their way in.
#[derive(Debug)]
pub(super) struct RxQueue {
    pub(super) ring: FrontRing,
    pages: LentPages,
    next: Next,
    /// What is known of the frame that is coming, or has come last.
    about: Received,
    /// That frame is to be dropped: the backend said that it is damaged.
    bad: bool,
    /// Where it lies.
    coming: Coming,
    /// The slots that it has taken so far: their pages stay here until it has come in full.
    held: u32,
}

impl RxQueue {
    /// A queue with all its pages at the backend's disposal.
    pub(super) fn new(ring: FrontRing, grants: &GrantTable, backend: DomId) -> Result<Self, Errno> {
        let count = ring.slots() as usize;
        let mut queue = Self {
            ring,
            pages: LentPages::new(grants, backend, count, Permit::ReadWrite)?,
            next: Next::Frame,
            about: Received::default(),
            bad: false,
            coming: Coming::default(),
            held: 0,
        };
        queue.refill();
        Ok(queue)
    }

    /// Gives the backend all pages that it does not have, but for those of a frame in parts. The
    /// last frame is gone then.
    pub(super) fn refill(&mut self) {
        let count = self.pages.count();
        let free = self.ring.free().saturating_sub(self.held) as usize;
        let first = self.ring.request_slot();
        let end = count.min(first + free);
        for pages in [first..end, 0..free - (end - first)] {
            self.pages.lend(pages.clone());
            pages.for_each(|page| self.push_page(page));
        }
    }

    fn push_page(&mut self, page: usize) {
        let request = RxRequest {
            id: u16::try_from(page).unwrap_or(0),
            gref: self.pages.reference(page),
            ..RxRequest::default()
        };
        self.ring.push(request.as_bytes());
    }

    /// Goes on to the next frame.
    pub(super) fn advance(&mut self) -> Result<Option<Received>, DeviceError> {
        loop {
            let index = self.ring.response_slot();
            let popped = self.ring.pop();
            let Some(slot) = popped.map_err(|_| DeviceError::Broken("more frames than pages"))?
            else {
                return Ok(None);
            };
            if self.held == 0 {
                self.coming.begin();
                (self.about, self.bad) = (Received::default(), false);
            }
            self.take(index, slot)?;
            self.held += 1;
            if self.next == Next::Frame {
                self.held = 0;
                if !self.bad && self.coming.end(&mut self.pages) {
                    return Ok(Some(self.about));
                }
            } else if self.held >= MOST_SLOTS {
                return Err(DeviceError::Broken("a frame without an end"));
            }
        }
    }

    /// The frame that [`advance`](Self::advance) has found.
    pub(super) fn frame(&self) -> &[u8] {
        self.coming.bytes(&self.pages)
    }

    /// Adds a slot to the frame.
    fn take(&mut self, index: usize, slot: [u8; SLOT]) -> Result<(), DeviceError> {
        if let Next::Extra { more_data } = self.next {
            let extra: ExtraInfo = transmute!(slot);
            self.take_extra(extra, more_data);
            return Ok(());
        }
        let response: RxResponse = transmute!(slot);
        if usize::from(response.id) != index {
            return Err(DeviceError::Broken("a frame in a page of another slot"));
        }
        let flags = RxFlags::from_bits_truncate(response.flags);
        match usize::try_from(response.status) {
            Ok(len) => self.add(index, response.offset.into(), len)?,
            // A negative status: the frame did not arrive in full.
            Err(_) => self.bad = true,
        }
        if self.next == Next::Frame {
            self.about.checksum = Checksum::of(flags);
        }
        let more_data = flags.contains(RxFlags::MORE_DATA);
        self.next = match flags.contains(RxFlags::EXTRA_INFO) && self.next == Next::Frame {
            true => Next::Extra { more_data },
            false => after_data(more_data),
        };
        Ok(())
    }

    fn take_extra(&mut self, extra: ExtraInfo, more_data: bool) {
        if extra.kind == ExtraType::Gso.number() {
            self.about.gso_size = Some(extra.gso_size);
        }
        if extra.flags & EXTRA_FLAG_MORE == 0 {
            self.next = after_data(more_data);
        }
    }

    /// Adds a piece, which must lie within its page.
    fn add(&mut self, index: usize, offset: usize, len: usize) -> Result<(), DeviceError> {
        let start = index * PAGE_SIZE + offset;
        let fits = offset + len <= PAGE_SIZE;
        if !fits || !self.coming.add(start..start + len, &mut self.pages) {
            return Err(DeviceError::Broken("a frame beyond its page"));
        }
        Ok(())
    }
}

fn after_data(more_data: bool) -> Next {
    match more_data {
        true => Next::Data,
        false => Next::Frame,
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;
    use std::vec::Vec;

    use super::*;

    struct World {
        queue: RxQueue,
        answered: u32,
    }

    fn world() -> World {
        let grants = GrantTable::fake();
        let ring = FrontRing::new(&grants, DomId::new(0), 0, SLOT).unwrap();
        let queue = RxQueue::new(ring, &grants, DomId::new(0)).unwrap();
        World { queue, answered: 0 }
    }

    impl World {
        fn slot(&mut self, bytes: &[u8]) {
            let place = self.answered as usize % 256;
            let memory = self.queue.ring.bytes();
            memory.write(64 + place * SLOT, bytes);
            self.answered += 1;
            memory.u32(8).store(self.answered, Ordering::Release);
        }

        fn data(&mut self, byte: u8, offset: u16, status: i16, flags: RxFlags) {
            let place = self.answered as usize % 256;
            if let Ok(len) = usize::try_from(status)
                && usize::from(offset) + len <= 4096
            {
                let start = place * 4096 + usize::from(offset);
                self.queue.pages.shared().fill(start, len, byte);
            }
            let response = RxResponse {
                id: u16::try_from(place).unwrap(),
                offset,
                flags: flags.bits(),
                status,
            };
            self.slot(response.as_bytes());
        }

        fn pop(&mut self) -> Result<Option<(Vec<u8>, Received)>, DeviceError> {
            let received = self.queue.advance()?;
            let frame = self.queue.frame().to_vec();
            self.queue.refill();
            let _ = self.queue.ring.publish();
            Ok(received.map(|received| (frame, received)))
        }
    }

    #[test]
    fn frames_of_one_slot_come_out_for_ever() {
        let mut world = world();
        let _ = world.queue.ring.publish();
        for round in 0..1000_u32 {
            let byte = u8::try_from(round % 251).unwrap();
            world.data(byte, 2, 60, RxFlags::DATA_VALIDATED);
            let (frame, received) = world.pop().unwrap().unwrap();
            assert_eq!(frame, vec![byte; 60]);
            assert_eq!(received.checksum, Checksum::Right);
        }
        assert_eq!(world.pop(), Ok(None));
    }

    #[test]
    fn a_large_frame_is_put_together_even_if_it_comes_in_parts() {
        let mut world = world();
        let more = RxFlags::MORE_DATA;
        world.data(1, 0, 4096, more | RxFlags::EXTRA_INFO | RxFlags::CSUM_BLANK);
        let extra = ExtraInfo {
            kind: 1,
            gso_size: 1448,
            ..ExtraInfo::default()
        };
        world.slot(extra.as_bytes());
        assert_eq!(world.pop(), Ok(None));
        world.data(2, 0, 4096, more);
        world.data(3, 0, 10, RxFlags::empty());
        let (frame, received) = world.pop().unwrap().unwrap();
        assert_eq!(frame.len(), 8202);
        assert_eq!((frame[0], frame[4096], frame[8201]), (1, 2, 3));
        assert_eq!(received.gso_size, Some(1448));
        assert_eq!(received.checksum, Checksum::Blank);
    }

    #[test]
    fn a_damaged_frame_is_dropped_as_a_whole() {
        let mut world = world();
        world.data(1, 0, 100, RxFlags::MORE_DATA);
        world.data(1, 0, -1, RxFlags::empty());
        world.data(2, 0, 60, RxFlags::empty());
        let (frame, received) = world.pop().unwrap().unwrap();
        assert_eq!(frame, vec![2; 60]);
        assert_eq!(received.checksum, Checksum::Unknown);
    }

    #[test]
    fn a_frame_beyond_its_page_breaks_the_device() {
        for (offset, status) in [(4096, 1), (0, 4097), (65535, i16::MAX)] {
            let mut world = world();
            world.data(1, offset, status, RxFlags::empty());
            assert!(world.pop().is_err());
        }
    }

    #[test]
    fn a_frame_without_end_breaks_the_device() {
        let mut world = world();
        for _ in 0..17 {
            world.data(1, 0, 4096, RxFlags::MORE_DATA);
        }
        assert!(world.pop().is_err());
    }

    #[test]
    fn a_page_of_another_slot_breaks_the_device() {
        let mut world = world();
        let response = RxResponse {
            id: 5,
            status: 60,
            ..RxResponse::default()
        };
        world.slot(response.as_bytes());
        assert!(world.pop().is_err());
    }

    #[test]
    fn a_frame_in_a_row_is_looked_at_where_it_lies() {
        let mut world = world();
        world.data(1, 0, 4096, RxFlags::MORE_DATA);
        world.data(2, 0, 4096, RxFlags::MORE_DATA);
        world.data(3, 0, 10, RxFlags::empty());
        assert!(world.queue.advance().unwrap().is_some());
        let row = world.queue.pages.shared().address();
        assert_eq!(world.queue.frame().as_ptr().addr() as u64, row);
        assert!(world.queue.pages.bytes(0..1).is_some());
        world.queue.refill();
        assert!(world.queue.pages.bytes(0..1).is_none());
    }

    #[test]
    fn a_frame_around_the_end_of_the_ring_is_put_together() {
        let mut world = world();
        let _ = world.queue.ring.publish();
        for _ in 0..254 {
            world.data(9, 0, 60, RxFlags::empty());
            assert!(world.pop().unwrap().is_some());
        }
        for byte in 1..4 {
            world.data(byte, 0, 4096, RxFlags::MORE_DATA);
        }
        world.data(4, 8, 100, RxFlags::empty());
        let (frame, _) = world.pop().unwrap().unwrap();
        assert_eq!(frame.len(), 3 * 4096 + 100);
        for (at, byte) in [(0, 1), (4096, 2), (8192, 3), (12288, 4), (12387, 4)] {
            assert_eq!(frame[at], byte);
        }
    }

    #[test]
    fn pages_of_a_frame_in_parts_stay_until_it_is_complete() {
        let mut world = world();
        let _ = world.queue.ring.publish();
        world.data(1, 0, 4096, RxFlags::MORE_DATA);
        assert_eq!(world.pop(), Ok(None));
        assert_eq!(world.queue.ring.free(), 1);
        world.data(2, 0, 4, RxFlags::empty());
        assert_eq!(world.pop().unwrap().unwrap().0.len(), 4100);
        assert_eq!(world.queue.ring.free(), 0);
    }

    #[test]
    fn pieces_of_nothing_do_not_come_for_ever() {
        let mut world = world();
        for _ in 0..32 {
            world.data(1, 0, 0, RxFlags::MORE_DATA);
        }
        assert!(world.pop().is_err());
    }
}
