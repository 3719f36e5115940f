//! Requests: what a kernel asks of a disk, checked; and how it ended.

use alloc::vec::Vec;
use core::fmt;

use guest_abi::{
    PAGE_SIZE,
    io::blkif::{BlkStatus, SECTOR_SIZE},
};

use super::Geometry;
use crate::grants::Grant;

/// Sectors in a page.
pub const SECTORS_PER_PAGE: u8 = 8;
const _: () = assert!(SECTORS_PER_PAGE as usize * SECTOR_SIZE == PAGE_SIZE);

/// A run of sectors within a page that is lent to the backend.
#[derive(Debug)]
pub struct Segment {
    /// The page.
    pub page: Grant,
    /// The first sector of the page that takes part.
    pub first: u8,
    /// How many take part.
    pub sectors: u8,
}

impl Segment {
    /// A whole page.
    #[must_use]
    pub fn whole(page: Grant) -> Self {
        Self {
            page,
            first: 0,
            sectors: SECTORS_PER_PAGE,
        }
    }
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The disk's sectors into the segments.
    Read,
    /// The segments onto the disk. It is durable after the next flush.
    Write,
    /// Everything written before is durable first, then this, then it is answered.
    Barrier,
    /// What was answered as written is durable. No segments.
    Flush,
    /// So many sectors are of no more use. No segments.
    Discard {
        /// How many.
        sectors: u64,
        /// Nothing of them may be readable afterwards.
        secure: bool,
    },
}

/// A request to a disk. Sectors have 512 bytes, whatever the disk's own are.
#[derive(Debug)]
pub struct Request {
    /// What is wanted.
    pub operation: Operation,
    /// The first sector of the disk.
    pub sector: u64,
    /// The memory, in the order of the disk.
    pub segments: Vec<Segment>,
}

/// Why a request was not even sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// It goes beyond the end of the disk.
    BeyondEnd,
    /// It begins or ends within one of the disk's sectors.
    Unaligned,
    /// A segment goes beyond its page, or is empty.
    BadSegment,
    /// More segments than the backend takes at once, or none where there must be some.
    SegmentCount,
    /// The disk is read-only.
    ReadOnly,
    /// The backend does not offer the operation.
    NotOffered,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeyondEnd => "beyond the end of the disk",
            Self::Unaligned => "not whole sectors of the disk",
            Self::BadSegment => "a segment beyond its page",
            Self::SegmentCount => "too many segments, or none",
            Self::ReadOnly => "the disk is read-only",
            Self::NotOffered => "not offered by the backend",
        })
    }
}

impl Request {
    /// A request for sectors in memory.
    #[must_use]
    pub fn transfer(operation: Operation, sector: u64, segments: Vec<Segment>) -> Self {
        Self {
            operation,
            sector,
            segments,
        }
    }

    /// A request that everything answered as written be durable.
    #[must_use]
    pub fn flush() -> Self {
        Self::transfer(Operation::Flush, 0, Vec::new())
    }

    /// A request that sectors be forgotten.
    #[must_use]
    pub fn discard(sector: u64, sectors: u64) -> Self {
        let secure = false;
        Self::transfer(Operation::Discard { sectors, secure }, sector, Vec::new())
    }

    /// How many sectors it concerns.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        match self.operation {
            Operation::Discard { sectors, .. } => sectors,
            _ => self.segments.iter().map(|s| u64::from(s.sectors)).sum(),
        }
    }

    /// Whether a disk like this one can take it.
    pub(super) fn check(&self, disk: &Geometry) -> Result<(), Invalid> {
        let features = &disk.features;
        let (writes, offered, data) = match self.operation {
            Operation::Read => (false, true, true),
            Operation::Write => (true, true, true),
            Operation::Barrier => (true, features.barrier, true),
            Operation::Flush => return features.flush.then_some(()).ok_or(Invalid::NotOffered),
            Operation::Discard { secure, .. } => {
                let offered = features.discard && (!secure || features.discard_secure);
                (true, offered, false)
            }
        };
        let count = self.segments.len();
        let end = self.sector.checked_add(self.sectors());
        let unit = u64::from(disk.sector_size) / SECTOR_SIZE as u64;
        let aligned = |sectors: u64| sectors.is_multiple_of(unit.max(1));
        if !offered {
            Err(Invalid::NotOffered)
        } else if writes && disk.read_only {
            Err(Invalid::ReadOnly)
        } else if (data && count == 0) || count > disk.max_segments || (!data && count > 0) {
            Err(Invalid::SegmentCount)
        } else if !self.segments.iter().all(in_page) {
            Err(Invalid::BadSegment)
        } else if end.is_none_or(|end| end > disk.sectors) {
            Err(Invalid::BeyondEnd)
        } else if !aligned(self.sector) || !aligned(self.sectors()) {
            Err(Invalid::Unaligned)
        } else {
            Ok(())
        }
    }
}

/// Whether a segment lies in its page.
fn in_page(segment: &Segment) -> bool {
    let end = segment.first.checked_add(segment.sectors);
    segment.sectors > 0 && end.is_some_and(|end| end <= SECTORS_PER_PAGE)
}

/// Why a request that was sent has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The disk has failed.
    Device,
    /// The backend cannot do it after all.
    Unsupported,
    /// The device was closed before the backend answered.
    Closed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "the disk has failed",
            Self::Unsupported => "the backend cannot do that",
            Self::Closed => "the disk was closed",
        })
    }
}

/// What a response's status means.
pub(super) fn outcome(status: i16) -> Result<(), Failure> {
    match BlkStatus::from_number(status) {
        Some(BlkStatus::Okay) => Ok(()),
        Some(BlkStatus::Eopnotsupp) => Err(Failure::Unsupported),
        // Numbers without a name are failures as well.
        Some(BlkStatus::Error) | None => Err(Failure::Device),
    }
}

#[cfg(test)]
mod tests {
    use guest_abi::DomId;

    use super::*;
    use crate::{blkfront::Features, grants::GrantTable};

    fn disk() -> Geometry {
        Geometry {
            sectors: 1000,
            sector_size: 512,
            physical_sector_size: 512,
            read_only: false,
            max_segments: 32,
            features: Features {
                flush: true,
                barrier: false,
                discard: true,
                ..Features::default()
            },
        }
    }

    fn segments(table: &GrantTable, count: usize) -> Vec<Segment> {
        (0..count)
            .map(|_| Segment::whole(table.lend(DomId::new(0)).unwrap()))
            .collect()
    }

    fn read(sector: u64, count: usize) -> Request {
        let segments = segments(&GrantTable::fake(), count);
        Request::transfer(Operation::Read, sector, segments)
    }

    #[test]
    fn a_request_beyond_the_end_is_refused() {
        assert_eq!(read(992, 1).check(&disk()), Ok(()));
        assert_eq!(read(993, 1).check(&disk()), Err(Invalid::BeyondEnd));
        assert_eq!(read(u64::MAX, 1).check(&disk()), Err(Invalid::BeyondEnd));
        let all = Request::discard(0, 1001);
        assert_eq!(all.check(&disk()), Err(Invalid::BeyondEnd));
    }

    #[test]
    fn a_segment_beyond_its_page_is_refused() {
        let mut request = read(0, 1);
        request.segments[0].first = 1;
        assert_eq!(request.check(&disk()), Err(Invalid::BadSegment));
        request.segments[0].sectors = 0;
        assert_eq!(request.check(&disk()), Err(Invalid::BadSegment));
        request.segments[0].sectors = 255;
        assert_eq!(request.check(&disk()), Err(Invalid::BadSegment));
    }

    #[test]
    fn segments_are_counted() {
        assert_eq!(read(0, 0).check(&disk()), Err(Invalid::SegmentCount));
        assert_eq!(read(0, 32).check(&disk()), Ok(()));
        assert_eq!(read(0, 33).check(&disk()), Err(Invalid::SegmentCount));
    }

    #[test]
    fn parts_of_large_sectors_are_refused() {
        let mut disk = disk();
        disk.sector_size = 4096;
        assert_eq!(read(8, 1).check(&disk), Ok(()));
        assert_eq!(read(9, 1).check(&disk), Err(Invalid::Unaligned));
        let mut request = read(8, 1);
        request.segments[0].sectors = 4;
        assert_eq!(request.check(&disk), Err(Invalid::Unaligned));
    }

    #[test]
    fn what_the_backend_does_not_offer_is_refused() {
        let mut request = read(0, 1);
        request.operation = Operation::Barrier;
        assert_eq!(request.check(&disk()), Err(Invalid::NotOffered));
        request.operation = Operation::Discard {
            sectors: 1,
            secure: true,
        };
        assert_eq!(request.check(&disk()), Err(Invalid::NotOffered));
    }

    #[test]
    fn a_read_only_disk_is_not_written() {
        let mut disk = disk();
        disk.read_only = true;
        let mut request = read(0, 1);
        assert_eq!(request.check(&disk), Ok(()));
        request.operation = Operation::Write;
        assert_eq!(request.check(&disk), Err(Invalid::ReadOnly));
        assert_eq!(Request::discard(0, 8).check(&disk), Err(Invalid::ReadOnly));
    }

    #[test]
    fn unknown_statuses_are_failures() {
        assert_eq!(outcome(0), Ok(()));
        assert_eq!(outcome(-2), Err(Failure::Unsupported));
        assert_eq!(outcome(77), Err(Failure::Device));
    }
}
