//! Receiving: pages lie with the backend, which copies frames into them.
//!
//! Answers come in the order of the ring, so a slot has a page of its own for good. A frame may take
//! several slots; it is put together here, and the pages go back at once. Everything that the
//! backend says about offsets and lengths is checked; nonsense breaks the device.

use alloc::vec::Vec;

use guest_abi::{
    DomId, Errno, PAGE_SIZE,
    io::netif::{
        EXTRA_FLAG_MORE, ExtraInfo, ExtraType, MAX_TX_SIZE, RxFlags, RxRequest, RxResponse,
    },
    zerocopy::{IntoBytes, transmute},
};

use super::{Checksum, Received};
use crate::{grants::Grant, grants::GrantTable, ring::FrontRing, xenbus::DeviceError};

/// Bytes of a slot.
pub(super) const SLOT: usize = size_of::<RxRequest>();

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
    pages: Vec<Grant>,
    next: Next,
    /// What is known of the frame that is being put together.
    coming: Received,
    /// That frame is to be dropped: the backend said that it is damaged.
    bad: bool,
    frame: Vec<u8>,
}

impl RxQueue {
    /// A queue with all its pages at the backend's disposal.
    pub(super) fn new(ring: FrontRing, grants: &GrantTable, backend: DomId) -> Result<Self, Errno> {
        let pages: Result<Vec<_>, _> = (0..ring.slots()).map(|_| grants.lend(backend)).collect();
        let mut queue = Self {
            ring,
            pages: pages?,
            next: Next::Frame,
            coming: Received::default(),
            bad: false,
            frame: Vec::new(),
        };
        queue.refill();
        Ok(queue)
    }

    /// Gives the backend all pages that it does not have.
    pub(super) fn refill(&mut self) {
        while self.ring.free() > 0 {
            let slot = self.ring.next_request() as usize % self.pages.len();
            let request = RxRequest {
                id: u16::try_from(slot).unwrap_or(0),
                gref: self.pages[slot].reference(),
                ..RxRequest::default()
            };
            self.ring.push(request.as_bytes());
        }
    }

    /// The next frame, in `into`, which loses what it held.
    pub(super) fn pop(&mut self, into: &mut Vec<u8>) -> Result<Option<Received>, DeviceError> {
        let mut slot = [0; SLOT];
        loop {
            let index = self.ring.next_response() as usize % self.pages.len();
            match self.ring.pop(&mut slot) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(_) => return Err(DeviceError::Broken("more frames than pages")),
            }
            self.take(index, slot)?;
            if self.next == Next::Frame {
                let bad = core::mem::replace(&mut self.bad, false);
                into.clear();
                core::mem::swap(into, &mut self.frame);
                let received = core::mem::take(&mut self.coming);
                if !bad && !into.is_empty() {
                    return Ok(Some(received));
                }
            }
        }
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
            Ok(len) => self.copy(index, response.offset.into(), len)?,
            // A negative status: the frame did not arrive in full.
            Err(_) => self.bad = true,
        }
        if self.next == Next::Frame {
            self.coming.checksum = Checksum::of(flags);
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
            self.coming.gso_size = Some(extra.gso_size);
        }
        if extra.flags & EXTRA_FLAG_MORE == 0 {
            self.next = after_data(more_data);
        }
    }

    /// Copies a piece out of its page.
    fn copy(&mut self, index: usize, offset: usize, len: usize) -> Result<(), DeviceError> {
        if offset + len > PAGE_SIZE || self.frame.len() + len > MAX_TX_SIZE {
            return Err(DeviceError::Broken("a frame beyond its page"));
        }
        self.pages[index].append_to(offset, len, &mut self.frame);
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
                self.queue.pages[place].fill(offset.into(), len, byte);
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
            let mut frame = Vec::new();
            let received = self.queue.pop(&mut frame)?;
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
}
