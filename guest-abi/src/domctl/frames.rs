//! What a domain's frames are in use as.

use crate::frame::GuestVirtAddr;

/// [`GetPageFrameInfo3`]: where the type begins.
pub const PFINFO_LTAB_SHIFT: u32 = 28;
/// [`GetPageFrameInfo3`]: no table.
pub const PFINFO_NOTAB: u32 = 0;
/// [`GetPageFrameInfo3`]: an L1 table.
pub const PFINFO_L1TAB: u32 = 1 << 28;
/// [`GetPageFrameInfo3`]: an L2 table.
pub const PFINFO_L2TAB: u32 = 2 << 28;
/// [`GetPageFrameInfo3`]: an L3 table.
pub const PFINFO_L3TAB: u32 = 3 << 28;
/// [`GetPageFrameInfo3`]: an L4 table.
pub const PFINFO_L4TAB: u32 = 4 << 28;
/// [`GetPageFrameInfo3`]: the table is pinned.
pub const PFINFO_LPINTAB: u32 = 1 << 31;
/// [`GetPageFrameInfo3`]: no such frame.
pub const PFINFO_XTAB: u32 = 0xf << 28;
/// [`GetPageFrameInfo3`]: allocated, without contents.
pub const PFINFO_XALLOC: u32 = 0xe << 28;
/// [`GetPageFrameInfo3`]: broken memory.
pub const PFINFO_BROKEN: u32 = 0xd << 28;

abi! {
    /// `getpageframeinfo3`: the types of a list of frames.
    pub struct GetPageFrameInfo3: 16 {
        0 => num: u64,
        /// Leads to a u64 a frame: the frame in, its type out.
        8 => array: GuestVirtAddr,
    }
}
