//! Exceptions and the way back: the trap table, the frames, the flat selectors.

use crate::frame::GuestVirtAddr;

/// Code segment of 64-bit guests, in the hypervisor's part of the descriptor table.
pub const FLAT_RING3_CS64: u16 = 0xe033;
/// Code segment of 32-bit user programs.
pub const FLAT_RING3_CS32: u16 = 0xe023;
/// Stack segment of 64-bit guests.
pub const FLAT_RING3_SS64: u16 = 0xe02b;
/// Data segment of 32-bit user programs.
pub const FLAT_RING3_DS32: u16 = 0xe02b;
/// Data segment of 64-bit guests: none.
pub const FLAT_RING3_DS64: u16 = 0;

/// The first page of the descriptor table that belongs to the hypervisor.
pub const FIRST_RESERVED_GDT_PAGE: u32 = 14;
/// The first entry of the descriptor table that belongs to the hypervisor.
pub const FIRST_RESERVED_GDT_ENTRY: u32 = 7168;

/// Bits of [`TrapInfo::flags`]: the least privilege that may raise the vector by `int`.
pub const TRAP_DPL_MASK: u8 = 3;
/// Bit of [`TrapInfo::flags`]: mask events on entry.
pub const TRAP_MASK_EVENTS: u8 = 4;

/// Bit of [`IretFrame::flags`]: RCX and R11 need not come back.
pub const VGCF_IN_SYSCALL: u64 = 1 << 8;

/// The bytes in front of an instruction that ask the hypervisor to emulate it (`ud2; "xen"`).
pub const EMULATE_PREFIX: [u8; 5] = [0x0f, 0x0b, 0x78, 0x65, 0x6e];

wire_enum! {
    /// `set_segment_base`: which base.
    pub enum SegmentBase: u32 {
        Fs = 0,
        GsUser = 1,
        GsKernel = 2,
        /// Not a base but a selector, loaded into the user's GS.
        GsUserSel = 3,
    }
}

abi! {
    /// One exception handler.
    pub struct TrapInfo: 16 {
        0 => vector: u8,
        /// [`TRAP_DPL_MASK`] and [`TRAP_MASK_EVENTS`].
        1 => flags: u8,
        2 => cs: u16,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// The handler; 0 ends a table.
        8 => address: GuestVirtAddr,
    }

    /// What `iret` takes from the guest kernel's stack.
    pub struct IretFrame: 72 {
        0 => rax: u64,
        8 => r11: u64,
        16 => rcx: u64,
        /// [`VGCF_IN_SYSCALL`] or nothing.
        24 => flags: u64,
        32 => rip: u64,
        40 => cs: u64,
        48 => rflags: u64,
        56 => rsp: u64,
        64 => ss: u64,
    }
}

impl TrapInfo {
    /// The least privilege (largest ring) that may raise the vector by `int`.
    pub const fn dpl(&self) -> u8 {
        self.flags & TRAP_DPL_MASK
    }

    /// Whether the handler starts with events masked.
    pub const fn masks_events(&self) -> bool {
        self.flags & TRAP_MASK_EVENTS != 0
    }
}
