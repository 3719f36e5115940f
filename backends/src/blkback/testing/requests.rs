//! Requests as bytes.

use guest_abi::ids::GrantRef;
use guest_abi::io::blkif::{
    BlkOperation, DiscardRequest, IndirectRequest, MAX_INDIRECT_PAGES_PER_REQUEST, Request,
    SLOT_SIZE, Segment,
};
use guest_abi::zerocopy::{Immutable, IntoBytes};

/// What a frontend writes into a slot.
pub type RawSlot = [u8; SLOT_SIZE];

fn slot(request: &(impl IntoBytes + Immutable)) -> RawSlot {
    let mut slot = [0; SLOT_SIZE];
    let bytes = request.as_bytes();
    slot[..bytes.len()].copy_from_slice(bytes);
    slot
}

/// Sectors `first` to `last` of a granted page.
#[must_use]
pub fn segment(gref: GrantRef, first: u8, last: u8) -> Segment {
    Segment {
        gref,
        first_sect: first,
        last_sect: last,
        ..Segment::default()
    }
}

/// A read, write or barrier with its segments (not more than fit are kept, but all are counted).
///
/// # Panics
///
/// With more than 255 segments.
#[must_use]
pub fn transfer(op: BlkOperation, id: u64, sector: u64, segments: &[Segment]) -> RawSlot {
    let mut request = Request {
        operation: op.number(),
        nr_segments: u8::try_from(segments.len()).expect("a byte of segments"),
        id,
        sector_number: sector,
        ..Request::default()
    };
    for (to, from) in request.seg.iter_mut().zip(segments) {
        *to = *from;
    }
    slot(&request)
}

/// A flush without data.
#[must_use]
pub fn flush(id: u64) -> RawSlot {
    transfer(BlkOperation::FlushDiskcache, id, 0, &[])
}

/// A request whose segments lie in granted page `page`.
#[must_use]
pub fn indirect(op: BlkOperation, id: u64, sector: u64, count: u16, page: GrantRef) -> RawSlot {
    let mut indirect_grefs = [GrantRef::default(); MAX_INDIRECT_PAGES_PER_REQUEST];
    indirect_grefs[0] = page;
    slot(&IndirectRequest {
        operation: BlkOperation::Indirect.number(),
        indirect_op: op.number(),
        nr_segments: count,
        id,
        sector_number: sector,
        indirect_grefs,
        ..IndirectRequest::default()
    })
}

/// A discard.
#[must_use]
pub fn discard(id: u64, sector: u64, sectors: u64, flag: u8) -> RawSlot {
    slot(&DiscardRequest {
        operation: BlkOperation::Discard.number(),
        flag,
        id,
        sector_number: sector,
        nr_sectors: sectors,
        ..DiscardRequest::default()
    })
}
