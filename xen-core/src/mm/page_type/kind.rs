//! The types that a frame may have.

use core::fmt;

use crate::mm::pagetable::entry::Level;

/// The uses of a frame that exclude each other. The numbers are Xen's `PGT_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PageType {
    /// Never used since it was handed out.
    None = 0,
    /// A level-1 page table.
    L1 = 1,
    /// A level-2 page table.
    L2 = 2,
    /// A level-3 page table.
    L3 = 3,
    /// A level-4 page table: a root.
    L4 = 4,
    /// A page of segment descriptors.
    Descriptors = 5,
    /// A page that its users may write.
    Writable = 7,
}

impl PageType {
    /// The type of a page table of this level.
    pub const fn table(level: Level) -> Self {
        match level {
            Level::L1 => Self::L1,
            Level::L2 => Self::L2,
            Level::L3 => Self::L3,
            Level::L4 => Self::L4,
        }
    }

    /// The level, for page tables.
    pub const fn level(self) -> Option<Level> {
        match self {
            Self::L1 => Some(Level::L1),
            Self::L2 => Some(Level::L2),
            Self::L3 => Some(Level::L3),
            Self::L4 => Some(Level::L4),
            Self::None | Self::Descriptors | Self::Writable => None,
        }
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        match bits & 7 {
            1 => Self::L1,
            2 => Self::L2,
            3 => Self::L3,
            4 => Self::L4,
            5 => Self::Descriptors,
            7 => Self::Writable,
            _ => Self::None,
        }
    }
}

impl fmt::Display for PageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "untyped",
            Self::L1 => "an L1 table",
            Self::L2 => "an L2 table",
            Self::L3 => "an L3 table",
            Self::L4 => "an L4 table",
            Self::Descriptors => "a descriptor page",
            Self::Writable => "writable",
        })
    }
}
