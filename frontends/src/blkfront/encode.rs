//! Requests as they lie in the ring: direct, indirect, discard.

use guest_abi::{
    ids::GrantRef,
    io::blkif::{
        self, BlkOperation, DISCARD_SECURE, DiscardRequest, IndirectRequest,
        MAX_SEGMENTS_PER_REQUEST,
    },
    zerocopy::{Immutable, IntoBytes},
};

use super::{Operation, Request, Segment};
use crate::grants::Grant;

/// A request as it lies in the ring.
#[derive(Debug)]
pub(super) struct Slot([u8; blkif::SLOT_SIZE]);

impl Slot {
    fn new<T: IntoBytes + Immutable>(message: &T) -> Self {
        let mut bytes = [0; blkif::SLOT_SIZE];
        for (to, from) in bytes.iter_mut().zip(message.as_bytes()) {
            *to = *from;
        }
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Segment {
    fn encode(&self) -> blkif::Segment {
        blkif::Segment {
            gref: self.page.reference(),
            first_sect: self.first,
            last_sect: (self.first + self.sectors).saturating_sub(1),
            ..blkif::Segment::default()
        }
    }
}

impl Operation {
    fn number(self) -> u8 {
        let operation = match self {
            Self::Read => BlkOperation::Read,
            Self::Write => BlkOperation::Write,
            Self::Barrier => BlkOperation::WriteBarrier,
            Self::Flush => BlkOperation::FlushDiskcache,
            Self::Discard { .. } => BlkOperation::Discard,
        };
        operation.number()
    }
}

impl Request {
    /// Whether its segments need a page of their own.
    pub(super) fn is_indirect(&self) -> bool {
        self.segments.len() > MAX_SEGMENTS_PER_REQUEST
    }

    /// The slot of the ring, for a request that was checked; `table` is the page for its segments
    /// if it [is indirect](Self::is_indirect).
    pub(super) fn encode(&self, id: u16, handle: u16, table: Option<&Grant>) -> Slot {
        match (self.operation, table) {
            (Operation::Discard { sectors, secure }, _) => Slot::new(&DiscardRequest {
                operation: self.operation.number(),
                flag: if secure { DISCARD_SECURE } else { 0 },
                handle,
                id: id.into(),
                sector_number: self.sector,
                nr_sectors: sectors,
                ..DiscardRequest::default()
            }),
            (_, Some(table)) => self.encode_indirect(id, handle, table),
            (_, None) => self.encode_direct(id, handle),
        }
    }

    fn encode_direct(&self, id: u16, handle: u16) -> Slot {
        let mut request = blkif::Request {
            operation: self.operation.number(),
            nr_segments: u8::try_from(self.segments.len()).unwrap_or(u8::MAX),
            handle,
            id: id.into(),
            sector_number: self.sector,
            ..blkif::Request::default()
        };
        for (to, from) in request.seg.iter_mut().zip(&self.segments) {
            *to = from.encode();
        }
        Slot::new(&request)
    }

    fn encode_indirect(&self, id: u16, handle: u16, table: &Grant) -> Slot {
        let mut offset = 0;
        for segment in &self.segments {
            let segment = segment.encode();
            table.write(offset, segment.as_bytes());
            offset += size_of::<blkif::Segment>();
        }
        let mut grefs = [GrantRef::default(); blkif::MAX_INDIRECT_PAGES_PER_REQUEST];
        grefs[0] = table.reference();
        Slot::new(&IndirectRequest {
            operation: BlkOperation::Indirect.number(),
            indirect_op: self.operation.number(),
            nr_segments: u16::try_from(self.segments.len()).unwrap_or(u16::MAX),
            id: id.into(),
            sector_number: self.sector,
            handle,
            indirect_grefs: grefs,
            ..IndirectRequest::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use guest_abi::{DomId, zerocopy::FromBytes};

    use super::*;
    use crate::grants::GrantTable;

    fn request(table: &GrantTable, operation: Operation, pages: usize) -> Request {
        let page = |_| Segment::whole(table.lend(DomId::new(0)).unwrap());
        Request::transfer(operation, 24, (0..pages).map(page).collect())
    }

    #[test]
    fn eleven_segments_fit_the_slot() {
        let table = GrantTable::fake();
        let mut request = request(&table, Operation::Read, 11);
        assert!(!request.is_indirect());
        request.segments[10].first = 2;
        request.segments[10].sectors = 3;
        let slot = request.encode(7, 768, None);
        let message = blkif::Request::read_from_bytes(slot.bytes()).unwrap();
        assert_eq!((message.operation, message.nr_segments), (0, 11));
        assert_eq!((message.id, message.sector_number), (7, 24));
        let last = message.seg[10];
        assert_eq!((last.first_sect, last.last_sect), (2, 4));
    }

    #[test]
    fn a_discard_names_sectors_only() {
        let slot = Request::discard(100, 50).encode(3, 768, None);
        let (message, _) = DiscardRequest::read_from_prefix(slot.bytes()).unwrap();
        assert_eq!((message.operation, message.flag), (5, 0));
        assert_eq!((message.sector_number, message.nr_sectors), (100, 50));
    }

    #[test]
    fn twelve_segments_need_a_page_of_their_own() {
        let table = GrantTable::fake();
        let request = request(&table, Operation::Write, 12);
        assert!(request.is_indirect());
        let page = table.lend(DomId::new(0)).unwrap();
        let slot = request.encode(7, 51712, Some(&page));
        let (message, _) = IndirectRequest::read_from_prefix(slot.bytes()).unwrap();
        assert_eq!((message.operation, message.indirect_op), (6, 1));
        assert_eq!((message.nr_segments, message.id), (12, 7));
        assert_eq!(message.indirect_grefs[0], page.reference());
        let mut bytes = [0; 8];
        page.read(11 * 8, &mut bytes);
        let last = blkif::Segment::read_from_bytes(&bytes).unwrap();
        assert_eq!(last.gref, request.segments[11].page.reference());
        assert_eq!((last.first_sect, last.last_sect), (0, 7));
    }
}
