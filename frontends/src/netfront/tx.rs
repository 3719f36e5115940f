//! Sending: frames are copied into lent pages, one for each slot of the ring.
//!
//! A slot's number is its page's. Pages stay lent for good, so that sending a frame is a copy and a
//! few stores.

use alloc::vec::Vec;

use guest_abi::{
    DomId, PAGE_SIZE,
    io::netif::{
        ExtraInfo, ExtraType, GSO_TYPE_TCPV4, GSO_TYPE_TCPV6, MAX_TX_SIZE, NR_SLOTS_MIN, NetStatus,
        TxFlags, TxRequest, TxResponse,
    },
    zerocopy::{FromZeros, IntoBytes},
};

use super::{Gso, Offload, SendError};
use crate::{grants::Grant, grants::GrantTable, ring::FrontRing, xenbus::DeviceError};

/// Bytes of a slot.
pub(super) const SLOT: usize = size_of::<TxRequest>();
/// The most slots that one frame takes: its pages, and what tells of segmentation.
pub(super) const MOST_SLOTS: u32 = 18;
const _: () = assert!(MOST_SLOTS as usize == NR_SLOTS_MIN);

/// The ring of frames on their way out.
#[derive(Debug)]
pub(super) struct TxQueue {
    pub(super) ring: FrontRing,
    grants: GrantTable,
    backend: DomId,
    pages: Vec<Option<Grant>>,
    /// Which pages hold a frame that the backend has not answered yet.
    busy: Vec<bool>,
    free: Vec<u16>,
    /// Slots without a page, which are answered by a status of their own.
    extras: u32,
    /// Frames that the backend did not send.
    pub(super) dropped: u64,
}

impl TxQueue {
    pub(super) fn new(ring: FrontRing, grants: &GrantTable, backend: DomId) -> Self {
        let slots = u16::try_from(ring.slots()).unwrap_or(0);
        Self {
            ring,
            grants: grants.clone(),
            backend,
            pages: (0..slots).map(|_| None).collect(),
            busy: (0..slots).map(|_| false).collect(),
            free: (0..slots).rev().collect(),
            extras: 0,
            dropped: 0,
        }
    }

    /// Whether there is room for any frame.
    pub(super) fn has_room(&self) -> bool {
        self.ring.free() >= MOST_SLOTS && self.free.len() >= MOST_SLOTS as usize
    }

    /// Puts a frame on the ring.
    pub(super) fn push(&mut self, frame: &[u8], offload: Offload) -> Result<(), SendError> {
        let size = u16::try_from(frame.len()).map_err(|_| SendError::TooLong)?;
        if frame.is_empty() || frame.len() > MAX_TX_SIZE {
            return Err(SendError::TooLong);
        }
        if !self.has_room() {
            return Err(SendError::Full);
        }
        let places = self.fill_all(frame).ok_or(SendError::Full)?;
        let last = places.len() - 1;
        for (index, (&place, piece)) in places.iter().zip(frame.chunks(PAGE_SIZE)).enumerate() {
            let mut flags = TxFlags::empty();
            flags.set(TxFlags::MORE_DATA, index < last);
            let mut request = TxRequest {
                gref: self.reference(place),
                id: place,
                size: u16::try_from(piece.len()).unwrap_or(u16::MAX),
                ..TxRequest::default()
            };
            if index == 0 {
                request.size = size;
                let blank = TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED;
                flags.set(blank, offload.checksum_blank);
                flags.set(TxFlags::EXTRA_INFO, offload.gso.is_some());
            }
            request.flags = flags.bits();
            self.ring.push(request.as_bytes());
            if let Some(gso) = offload.gso.filter(|_| index == 0) {
                self.ring.push(extra(gso).as_bytes());
                self.extras += 1;
            }
        }
        Ok(())
    }

    /// Copies a frame into free pages; none if one is missing.
    fn fill_all(&mut self, frame: &[u8]) -> Option<Vec<u16>> {
        let mut places = Vec::with_capacity(frame.len().div_ceil(PAGE_SIZE));
        for piece in frame.chunks(PAGE_SIZE) {
            match self.fill(piece) {
                Some(place) => places.push(place),
                None => {
                    self.free.extend(places);
                    return None;
                }
            }
        }
        for &place in &places {
            self.busy[usize::from(place)] = true;
        }
        Some(places)
    }

    /// Copies a piece of a frame into a free page.
    fn fill(&mut self, piece: &[u8]) -> Option<u16> {
        let place = *self.free.last()?;
        let page = self.pages.get_mut(usize::from(place))?;
        if page.is_none() {
            *page = self.grants.lend(self.backend).ok();
        }
        page.as_ref()?.write(0, piece);
        self.free.pop()
    }

    fn reference(&self, place: u16) -> guest_abi::ids::GrantRef {
        let page = self.pages.get(usize::from(place)).and_then(Option::as_ref);
        page.map(Grant::reference).unwrap_or_default()
    }

    /// Takes back the pages of frames that were sent.
    pub(super) fn reap(&mut self) -> Result<(), DeviceError> {
        let mut response = TxResponse::new_zeroed();
        loop {
            match self.ring.pop(response.as_mut_bytes()) {
                Ok(true) => self.land(response)?,
                Ok(false) => return Ok(()),
                Err(_) => return Err(DeviceError::Broken("more answers than frames")),
            }
        }
    }

    fn land(&mut self, response: TxResponse) -> Result<(), DeviceError> {
        if response.status == NetStatus::Null.number() {
            self.extras = self
                .extras
                .checked_sub(1)
                .ok_or(DeviceError::Broken("an answer to no frame"))?;
            return Ok(());
        }
        match self.busy.get_mut(usize::from(response.id)) {
            Some(busy) if *busy => *busy = false,
            _ => return Err(DeviceError::Broken("an answer to no frame")),
        }
        self.free.push(response.id);
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
        TxQueue::new(ring, &grants, DomId::new(0))
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
        assert_eq!(queue.free.len(), 256);
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
