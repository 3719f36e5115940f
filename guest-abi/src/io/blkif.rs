//! Block device messages.
//!
//! Requests come in three shapes of one size class; the first byte says which. A slot of the ring
//! is 112 bytes, the size of the largest.

use crate::ids::GrantRef;

wire_enum! {
    /// What a request wants.
    pub enum BlkOperation: u8 {
        Read = 0,
        Write = 1,
        WriteBarrier = 2,
        FlushDiskcache = 3,
        Discard = 5,
        Indirect = 6,
    }
}

wire_enum! {
    /// How a request ended.
    pub enum BlkStatus: i16 {
        Okay = 0,
        Error = -1,
        Eopnotsupp = -2,
    }
}

/// Segments a direct request can name.
pub const MAX_SEGMENTS_PER_REQUEST: usize = 11;
/// Pages of segments an indirect request can name.
pub const MAX_INDIRECT_PAGES_PER_REQUEST: usize = 8;
/// Segments in such a page.
pub const SEGMENTS_PER_INDIRECT_PAGE: usize = 512;
/// Bytes of a sector, whatever the device's own are.
pub const SECTOR_SIZE: usize = 512;
/// Bytes of a slot on the ring.
pub const SLOT_SIZE: usize = 112;

/// `info` node: a CD-ROM.
pub const VDISK_CDROM: u32 = 1;
/// `info` node: removable.
pub const VDISK_REMOVABLE: u32 = 2;
/// `info` node: read only.
pub const VDISK_READONLY: u32 = 4;
/// Flag of [`DiscardRequest`]: leave nothing readable.
pub const DISCARD_SECURE: u8 = 1;

abi! {
    /// A run of sectors within one granted page.
    pub struct Segment: 8 {
        0 => gref: GrantRef,
        4 => first_sect: u8,
        /// The last one included.
        5 => last_sect: u8,
        #[doc(hidden)]
        6 => _pad0: u16,
    }

    /// A direct request.
    pub struct Request: 112 {
        /// [`BlkOperation`].
        0 => operation: u8,
        1 => nr_segments: u8,
        2 => handle: u16,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// The frontend's; comes back in the response.
        8 => id: u64,
        16 => sector_number: u64,
        24 => seg: [Segment; MAX_SEGMENTS_PER_REQUEST],
    }

    /// A request to forget sectors.
    pub struct DiscardRequest: 32 {
        0 => operation: u8,
        1 => flag: u8,
        2 => handle: u16,
        #[doc(hidden)]
        4 => _pad0: u32,
        8 => id: u64,
        16 => sector_number: u64,
        24 => nr_sectors: u64,
    }

    /// A request whose segments lie in granted pages of their own.
    pub struct IndirectRequest: 64 {
        0 => operation: u8,
        /// The operation meant.
        1 => indirect_op: u8,
        2 => nr_segments: u16,
        #[doc(hidden)]
        4 => _pad0: u32,
        8 => id: u64,
        16 => sector_number: u64,
        24 => handle: u16,
        #[doc(hidden)]
        26 => _pad1: u16,
        28 => indirect_grefs: [GrantRef; MAX_INDIRECT_PAGES_PER_REQUEST],
        #[doc(hidden)]
        60 => _pad2: u32,
    }

    /// The answer to any of them.
    pub struct Response: 16 {
        0 => id: u64,
        8 => operation: u8,
        #[doc(hidden)]
        9 => _pad0: u8,
        /// [`BlkStatus`].
        10 => status: i16,
        #[doc(hidden)]
        12 => _pad1: u32,
    }
}
