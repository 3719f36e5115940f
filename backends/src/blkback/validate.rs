//! What a frontend may ask for, and every reason to refuse it.
//!
//! Two steps, both on a private copy: [`decode`] says which request the bytes of a slot are,
//! [`Limits::check`] holds a transfer's segments against the disk. What passes both needs no
//! further look.
//!
//! The request's `handle` is left alone: a ring belongs to one device, so it could not lead
//! anywhere else, and kernels in the field put anything at all into it.

use core::fmt;

use guest_abi::ids::GrantRef;
use guest_abi::io::blkif::{
    BlkOperation, BlkStatus, DISCARD_SECURE, DiscardRequest, IndirectRequest,
    MAX_SEGMENTS_PER_REQUEST, Request, Segment,
};
use guest_abi::zerocopy::FromBytes;

use super::ring::Slot;
use crate::host::GrantRefused;

/// Sectors of 512 bytes in a page.
const SECTORS_PER_PAGE: u8 = 8;

/// What requests are held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The disk's size, in sectors of 512 bytes.
    pub(super) sectors: u64,
    /// Such sectors in one of the disk's own.
    pub(super) block_sectors: u64,
    pub(super) writable: bool,
    pub(super) discard: bool,
    pub(super) indirect_segments: u16,
}

/// What moves data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
    /// A write that is durable when answered, after everything taken before it.
    Barrier,
}

/// A request, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Segments are in the request itself.
    Direct {
        direction: Direction,
        sector: u64,
        count: usize,
        segments: [Segment; MAX_SEGMENTS_PER_REQUEST],
    },
    /// Segments are in a page of their own.
    Indirect {
        direction: Direction,
        sector: u64,
        count: usize,
        page: GrantRef,
    },
    Flush,
    /// A barrier without data: a flush after everything taken before it.
    FlushBarrier,
    Discard {
        sector: u64,
        sectors: u64,
    },
}

/// Who asked: what the response repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) id: u64,
    /// The operation; of an indirect request, the one it means.
    pub(super) operation: u8,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Operation(u8),
    IndirectOperation(u8),
    SegmentCount(u16),
    Segment { first: u8, last: u8 },
    Unaligned { sector: u64 },
    BeyondEnd { sector: u64, sectors: u64 },
    ReadOnly,
    NoDiscard,
    SecureDiscard,
    Grant(GrantRefused),
}

impl Bad {
    /// What the guest is told.
    pub(super) fn status(self) -> BlkStatus {
        match self {
            Self::Operation(_) | Self::NoDiscard | Self::SecureDiscard => BlkStatus::Eopnotsupp,
            _ => BlkStatus::Error,
        }
    }
}

impl From<GrantRefused> for Bad {
    fn from(refused: GrantRefused) -> Self {
        Self::Grant(refused)
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(number) => write!(f, "operation {number} is unknown"),
            Self::IndirectOperation(number) => write!(f, "operation {number} can't be indirect"),
            Self::SegmentCount(count) => write!(f, "{count} segments are too few or too many"),
            Self::Segment { first, last } => write!(f, "sectors {first} to {last} of a page"),
            Self::Unaligned { sector } => {
                write!(f, "sector {sector}: the disk's own sectors are larger")
            }
            Self::BeyondEnd { sector, sectors } => {
                write!(f, "{sectors} sectors at {sector} lie beyond the end")
            }
            Self::ReadOnly => f.write_str("the disk is read-only"),
            Self::NoDiscard => f.write_str("the disk does not discard"),
            Self::SecureDiscard => f.write_str("the disk does not discard securely"),
            Self::Grant(refused) => refused.fmt(f),
        }
    }
}

/// What to repeat in the response, whatever the rest of the request looks like.
pub(super) fn tag(slot: &Slot) -> Tag {
    // Both start like every other request, so this reads the right bytes of any.
    let request = read::<IndirectRequest>(slot);
    let operation = match BlkOperation::from_number(request.operation) {
        Some(BlkOperation::Indirect) => request.indirect_op,
        _ => request.operation,
    };
    Tag {
        id: request.id,
        operation,
    }
}

/// Which request the bytes of a slot are.
pub(super) fn decode(slot: &Slot, limits: &Limits) -> Result<Asked, Bad> {
    let [number, ..] = *slot;
    match BlkOperation::from_number(number).ok_or(Bad::Operation(number))? {
        BlkOperation::Read => direct(slot, Direction::Read),
        BlkOperation::Write => direct(slot, Direction::Write),
        BlkOperation::WriteBarrier if slot[1] == 0 => Ok(Asked::FlushBarrier),
        BlkOperation::FlushDiskcache if slot[1] == 0 => Ok(Asked::Flush),
        // A flush that carries data promises no more than a barrier does.
        BlkOperation::WriteBarrier | BlkOperation::FlushDiskcache => {
            direct(slot, Direction::Barrier)
        }
        BlkOperation::Discard => discard(slot, limits),
        BlkOperation::Indirect => indirect(slot, limits),
    }
}

fn direct(slot: &Slot, direction: Direction) -> Result<Asked, Bad> {
    let request = read::<Request>(slot);
    let count = usize::from(request.nr_segments);
    if !(1..=MAX_SEGMENTS_PER_REQUEST).contains(&count) {
        return Err(Bad::SegmentCount(request.nr_segments.into()));
    }
    Ok(Asked::Direct {
        direction,
        sector: request.sector_number,
        count,
        segments: request.seg,
    })
}

fn indirect(slot: &Slot, limits: &Limits) -> Result<Asked, Bad> {
    let request = read::<IndirectRequest>(slot);
    let direction = match BlkOperation::from_number(request.indirect_op) {
        Some(BlkOperation::Read) => Direction::Read,
        Some(BlkOperation::Write) => Direction::Write,
        _ => return Err(Bad::IndirectOperation(request.indirect_op)),
    };
    if !(1..=limits.indirect_segments).contains(&request.nr_segments) {
        return Err(Bad::SegmentCount(request.nr_segments));
    }
    let [page, ..] = request.indirect_grefs;
    Ok(Asked::Indirect {
        direction,
        sector: request.sector_number,
        count: usize::from(request.nr_segments),
        page,
    })
}

fn discard(slot: &Slot, limits: &Limits) -> Result<Asked, Bad> {
    let request = read::<DiscardRequest>(slot);
    if !limits.discard {
        return Err(Bad::NoDiscard);
    }
    if request.flag & DISCARD_SECURE != 0 {
        return Err(Bad::SecureDiscard);
    }
    let (sector, sectors) = (request.sector_number, request.nr_sectors);
    limits.within(sector, sectors)?;
    limits.aligned(sector, sectors)?;
    Ok(Asked::Discard { sector, sectors })
}

impl Limits {
    /// Holds a transfer against the disk. Returns how many sectors it moves.
    pub(super) fn check(
        &self,
        direction: Direction,
        sector: u64,
        segments: &[Segment],
    ) -> Result<u64, Bad> {
        if direction != Direction::Read && !self.writable {
            return Err(Bad::ReadOnly);
        }
        let mut sectors = 0;
        for segment in segments {
            let (first, last) = (segment.first_sect, segment.last_sect);
            if first > last || last >= SECTORS_PER_PAGE {
                return Err(Bad::Segment { first, last });
            }
            let length = u64::from(last - first) + 1;
            self.aligned(sector, length)?;
            sectors += length;
        }
        self.within(sector, sectors)?;
        Ok(sectors)
    }

    fn within(&self, sector: u64, sectors: u64) -> Result<(), Bad> {
        match sector.checked_add(sectors) {
            Some(end) if end <= self.sectors => Ok(()),
            _ => Err(Bad::BeyondEnd { sector, sectors }),
        }
    }

    fn aligned(&self, sector: u64, sectors: u64) -> Result<(), Bad> {
        // Sizes of blocks are powers of two.
        if (sector | sectors) & (self.block_sectors - 1) == 0 {
            Ok(())
        } else {
            Err(Bad::Unaligned { sector })
        }
    }
}

/// The request at the front of a slot.
fn read<T: FromBytes + Default>(slot: &Slot) -> T {
    // Every kind of request fits a slot.
    T::read_from_prefix(slot).map_or_else(|_| T::default(), |(request, _)| request)
}
