//! What the toolstack decides about a disk, and what that makes of it.

use guest_abi::io::blkif::{
    SEGMENTS_PER_INDIRECT_PAGE, VDISK_CDROM, VDISK_READONLY, VDISK_REMOVABLE,
};

use super::validate::Limits;
use crate::host::{Geometry, SECTOR_SIZE};

/// How a disk is shown to its guest. The defaults offer everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The guest may not write, even if the disk itself could be written.
    pub read_only: bool,
    /// It looks like a CD-ROM drive.
    pub cdrom: bool,
    /// It looks like something that can be taken out.
    pub removable: bool,
    /// Discards are passed on, if the disk knows them.
    pub discard: bool,
    /// Grants may stay mapped from request to request.
    pub persistent_grants: bool,
    /// Rings a frontend may have.
    pub max_queues: u32,
    /// Pages a ring may have, as a power of two.
    pub max_ring_page_order: u32,
    /// Segments an indirect request may name.
    pub max_indirect_segments: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_only: false,
            cdrom: false,
            removable: false,
            discard: true,
            persistent_grants: true,
            max_queues: Self::MAX_QUEUES,
            max_ring_page_order: Self::MAX_RING_PAGE_ORDER,
            max_indirect_segments: Self::MAX_INDIRECT_SEGMENTS,
        }
    }
}

impl Options {
    /// Most rings a frontend may ever have.
    pub const MAX_QUEUES: u32 = 4;
    /// The largest ring there may ever be: 16 pages, 512 slots.
    pub const MAX_RING_PAGE_ORDER: u32 = 4;
    /// Most segments of an indirect request: 1 MiB, described by half a page.
    pub const MAX_INDIRECT_SEGMENTS: u16 = 256;

    /// The same, with every figure inside what this backend can do.
    pub(super) fn bounded(self) -> Self {
        Self {
            max_queues: self.max_queues.clamp(1, Self::MAX_QUEUES),
            max_ring_page_order: self.max_ring_page_order.min(Self::MAX_RING_PAGE_ORDER),
            max_indirect_segments: self.max_indirect_segments.min(Self::MAX_INDIRECT_SEGMENTS),
            ..self
        }
    }

    /// The `info` node.
    pub(super) fn info(&self, geometry: &Geometry) -> u32 {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        flag(self.cdrom, VDISK_CDROM)
            | flag(self.removable, VDISK_REMOVABLE)
            | flag(!self.writable(geometry), VDISK_READONLY)
    }

    /// Whether the guest may write.
    pub(super) fn writable(&self, geometry: &Geometry) -> bool {
        !self.read_only && !geometry.read_only
    }

    /// Bytes in which the guest may discard, if it may.
    pub(super) fn discard_granularity(&self, geometry: &Geometry) -> Option<u32> {
        let allowed = self.discard && self.writable(geometry);
        geometry.discard_granularity.filter(|_| allowed)
    }

    /// What requests are held against.
    pub(super) fn limits(&self, geometry: &Geometry) -> Limits {
        Limits {
            sectors: geometry.sectors,
            block_sectors: u64::from(geometry.sector_size)
                .div_ceil(SECTOR_SIZE as u64)
                .max(1),
            writable: self.writable(geometry),
            discard: self.discard_granularity(geometry).is_some(),
            indirect_segments: self.max_indirect_segments,
        }
    }
}

// One indirect page is all that is ever looked at.
const _: () = assert!(Options::MAX_INDIRECT_SEGMENTS as usize <= SEGMENTS_PER_INDIRECT_PAGE);
