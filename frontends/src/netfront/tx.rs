//! Sending: frames are built in lent pages, as many as the ring has slots.
//!
//! A frame lies in pages side by side, and a slot's number is its page's. Pages stay lent for good,
//! and only for reading, so that sending a frame is building it and a few stores.

use guest_abi::{
    DomId, Errno, PAGE_SIZE,
    io::netif::{
        ExtraInfo, ExtraType, GSO_TYPE_TCPV4, GSO_TYPE_TCPV6, MAX_TX_SIZE, NR_SLOTS_MIN, NetStatus,
        TxFlags, TxRequest, TxResponse,
    },
    zerocopy::IntoBytes,
};

use super::{Gso, Offload, SendError, circle::Circle};
use crate::{
    arch::lent::LentPages,
    grants::{GrantTable, Permit},
    ring::FrontRing,
    xenbus::DeviceError,
};

/// Bytes of a slot.
pub(super) const SLOT: usize = size_of::<TxRequest>();
/// The most slots that one frame takes: its pages, and what tells of segmentation.
pub(super) const MOST_SLOTS: u32 = 18;
const _: () = assert!(MOST_SLOTS as usize == NR_SLOTS_MIN);
/// The most pages that one frame takes.
const MOST_PAGES: usize = MAX_TX_SIZE.div_ceil(PAGE_SIZE);

/// The ring of frames on their way out.
#[derive(Debug)]
pub(super) struct TxQueue {
    pub(super) ring: FrontRing,
    pages: LentPages,
    circle: Circle,
    /// Slots without a page, which are answered by a status of their own.
    extras: u32,
    /// Frames that the backend did not send.
    pub(super) dropped: u64,
}

impl TxQueue {
    pub(super) fn new(ring: FrontRing, grants: &GrantTable, backend: DomId) -> Result<Self, Errno> {
        let count = ring.slots() as usize;
        Ok(Self {
            ring,
            pages: LentPages::new(grants, backend, count, Permit::Read)?,
            circle: Circle::new(count),
            extras: 0,
            dropped: 0,
        })
    }

    /// Whether there is room for any frame.
    pub(super) fn has_room(&self) -> bool {
        self.ring.free() >= MOST_SLOTS && self.circle.row(MOST_PAGES).is_some()
    }

    /// Where the next frame is to be built, if there is room for any.
    pub(super) fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if !self.has_room() || len > MAX_TX_SIZE {
            return None;
        }
        let start = self.circle.row(len.div_ceil(PAGE_SIZE))? * PAGE_SIZE;
        self.pages.bytes_mut(start..start + len)
    }

    /// Puts a frame on the ring.
    pub(super) fn push(&mut self, frame: &[u8], offload: Offload) -> Result<(), SendError> {
        if frame.len() > MAX_TX_SIZE {
            return Err(SendError::TooLong);
        }
        let room = self.room(frame.len()).ok_or(SendError::Full)?;
        room.copy_from_slice(frame);
        self.push_built(frame.len(), offload)
    }

    /// Puts the frame that was built in the [room](Self::room) for it on the ring.
    pub(super) fn push_built(&mut self, len: usize, offload: Offload) -> Result<(), SendError> {
        let size = u16::try_from(len).map_err(|_| SendError::TooLong)?;
        if len == 0 {
            return Err(SendError::TooLong);
        }
        if !self.has_room() {
            return Err(SendError::Full);
        }
        let count = len.div_ceil(PAGE_SIZE);
        let start = self.circle.take(count).ok_or(SendError::Full)?;
        let mut flags = TxFlags::empty();
        let blank = TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED;
        flags.set(blank, offload.checksum_blank);
        flags.set(TxFlags::EXTRA_INFO, offload.gso.is_some());
        flags.set(TxFlags::MORE_DATA, count > 1);
        self.push_page(start, size, flags);
        if let Some(gso) = offload.gso {
            self.ring.push(extra(gso).as_bytes());
            self.extras += 1;
        }
        let mut left = len;
        for page in start + 1..start + count {
            left -= PAGE_SIZE;
            let size = u16::try_from(left.min(PAGE_SIZE)).unwrap_or(0);
            let mut flags = TxFlags::empty();
            flags.set(TxFlags::MORE_DATA, left > PAGE_SIZE);
            self.push_page(page, size, flags);
        }
        Ok(())
    }

    fn push_page(&mut self, page: usize, size: u16, flags: TxFlags) {
        let request = TxRequest {
            gref: self.pages.reference(page),
            id: u16::try_from(page).unwrap_or(u16::MAX),
            size,
            flags: flags.bits(),
            ..TxRequest::default()
        };
        self.ring.push(request.as_bytes());
    }

    /// Takes back the pages of frames that were sent.
    pub(super) fn reap(&mut self) -> Result<(), DeviceError> {
        loop {
            match self.ring.pop() {
                Ok(Some(response)) => self.land(response)?,
                Ok(None) => return Ok(()),
                Err(_) => return Err(DeviceError::Broken("more answers than frames")),
            }
        }
    }

    fn land(&mut self, response: TxResponse) -> Result<(), DeviceError> {
        const NONE: DeviceError = DeviceError::Broken("an answer to no frame");
        if response.status == NetStatus::Null.number() {
            self.extras = self.extras.checked_sub(1).ok_or(NONE)?;
            return Ok(());
        }
        if !self.circle.give(response.id.into()) {
            return Err(NONE);
        }
        self.dropped += u64::from(response.status != NetStatus::Okay.number());
        Ok(())
    }
}

fn extra(gso: Gso) -> ExtraInfo {
    ExtraInfo {
        kind: ExtraType::Gso.number(),
        gso_size: gso.size,
        gso_type: if gso.ipv6 {
            GSO_TYPE_TCPV6
        } else {
            GSO_TYPE_TCPV4
        },
        ..ExtraInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;

    use guest_abi::zerocopy::FromBytes;

    use super::*;

    fn queue() -> TxQueue {
        let grants = GrantTable::fake();
        let ring = FrontRing::new(&grants, DomId::new(0), 0, SLOT).unwrap();
        TxQueue::new(ring, &grants, DomId::new(0)).unwrap()
    }

    fn slot(queue: &TxQueue, index: usize) -> TxRequest {
        let mut bytes = [0; SLOT];
        queue.ring.bytes().read(64 + index * SLOT, &mut bytes);
        TxRequest::read_from_bytes(&bytes).unwrap()
    }

    fn answer(queue: &TxQueue, index: u32, id: u16, status: i16) {
        let bytes = queue.ring.bytes();
        let response = TxResponse { id, status };
        bytes.write(64 + index as usize % 256 * SLOT, response.as_bytes());
        bytes.u32(8).store(index + 1, Ordering::Release);
    }

    #[test]
    fn a_short_frame_takes_one_slot() {
        let mut queue = queue();
        let offload = Offload {
            checksum_blank: true,
            gso: None,
        };
        queue.push(&[7; 60], offload).unwrap();
        let request = slot(&queue, 0);
        assert_eq!((request.size, request.flags), (60, 3));
    }

    #[test]
    fn a_long_frame_names_its_whole_length_first() {
        let mut queue = queue();
        let offload = Offload {
            checksum_blank: true,
            gso: Some(Gso {
                size: 1448,
                ipv6: false,
            }),
        };
        queue.push(&[7; 9000], offload).unwrap();
        assert_eq!((slot(&queue, 0).size, slot(&queue, 0).flags), (9000, 15));
        let mut bytes = [0; 8];
        queue.ring.bytes().read(64 + SLOT, &mut bytes);
        let extra = ExtraInfo::read_from_bytes(&bytes).unwrap();
        assert_eq!((extra.kind, extra.gso_size, extra.gso_type), (1, 1448, 1));
        assert_eq!((slot(&queue, 2).size, slot(&queue, 2).flags), (4096, 4));
        assert_eq!((slot(&queue, 3).size, slot(&queue, 3).flags), (808, 0));
    }

    #[test]
    fn pages_come_back_with_their_answers() {
        let mut queue = queue();
        for round in 0..1000_u32 {
            queue.push(&[7; 60], Offload::default()).unwrap();
            let _ = queue.ring.publish();
            let id = slot(&queue, round as usize % 256).id;
            answer(&queue, round, id, 0);
            queue.reap().unwrap();
        }
        assert_eq!(queue.circle.row(256), Some(0));
    }

    #[test]
    fn a_ring_without_answers_fills_up() {
        let mut queue = queue();
        let mut sent = 0;
        while queue.push(&[7; 60], Offload::default()).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, 256 - MOST_SLOTS + 1);
        assert_eq!(
            queue.push(&[7; 65536], Offload::default()),
            Err(SendError::TooLong)
        );
    }

    #[test]
    fn an_answer_to_no_frame_breaks_the_device() {
        for (id, status) in [(1, 0), (300, 0), (255, 1)] {
            let mut queue = queue();
            queue.push(&[7; 60], Offload::default()).unwrap();
            let _ = queue.ring.publish();
            answer(&queue, 0, id, status);
            assert!(queue.reap().is_err());
        }
    }
}
