//! Page tables: entries, `mmu_update`, `mmuext_op` and `update_va_mapping`.

use crate::frame::{GuestVirtAddr, Mfn, PAGE_SHIFT};

/// The lowest address that belongs to the hypervisor.
pub const HYPERVISOR_VIRT_START: u64 = 0xffff_8000_0000_0000;
/// The first address above the hypervisor's part.
pub const HYPERVISOR_VIRT_END: u64 = 0xffff_8800_0000_0000;
/// The machine-to-phys table, readable by guests.
pub const MACH2PHYS_VIRT_START: u64 = 0xffff_8000_0000_0000;
/// The end of the room for that table.
pub const MACH2PHYS_VIRT_END: u64 = 0xffff_8040_0000_0000;
/// The first slot of an L4 that belongs to the hypervisor.
pub const FIRST_HYPERVISOR_L4_SLOT: usize = 256;
/// The last slot of an L4 that belongs to the hypervisor.
pub const LAST_HYPERVISOR_L4_SLOT: usize = 271;

/// Entries in a page table.
pub const ENTRIES_PER_TABLE: usize = 512;

bitflags::bitflags! {
    /// The bits of a page-table entry that are not its frame.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PteFlags: u64 {
        /// The entry maps something.
        const PRESENT = 1 << 0;
        /// Writable.
        const RW = 1 << 1;
        /// Open to user mode.
        const USER = 1 << 2;
        /// Write-through.
        const PWT = 1 << 3;
        /// Not cached.
        const PCD = 1 << 4;
        /// Set by the CPU when it uses the entry.
        const ACCESSED = 1 << 5;
        /// Set by the CPU when it writes through the entry.
        const DIRTY = 1 << 6;
        /// L1: third bit of the cache attribute. L2 and L3: a large page ([`Self::PSE`]).
        const PAT = 1 << 7;
        /// L2 and L3: a large page.
        const PSE = 1 << 7;
        /// Survives a change of root.
        const GLOBAL = 1 << 8;
        /// For the guest's own use.
        const AVAIL_LOW = 7 << 9;
        /// For the guest's own use, but for bit 52.
        const AVAIL_HIGH = 0x7ff << 52;
        /// The hypervisor's mark on entries a guest kernel made for itself.
        const GUEST_KERNEL = 1 << 52;
        /// Not executable.
        const NX = 1 << 63;
    }
}

/// The bits of an entry that hold the frame.
pub const PTE_FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;

newtype! {
    /// A page-table entry, as it is written.
    pub struct Pte(u64), "{:#x}"
}

impl Pte {
    /// The entry that maps nothing.
    pub const EMPTY: Self = Self(0);

    /// The entry for `frame` with `flags`.
    pub const fn map(frame: Mfn, flags: PteFlags) -> Self {
        Self(((frame.get() << PAGE_SHIFT) & PTE_FRAME_MASK) | flags.bits())
    }

    /// The frame named.
    pub const fn frame(self) -> Mfn {
        Mfn::new((self.0 & PTE_FRAME_MASK) >> PAGE_SHIFT)
    }

    /// Everything but the frame.
    pub const fn flags(self) -> PteFlags {
        PteFlags::from_bits_retain(self.0 & !PTE_FRAME_MASK)
    }

    /// Whether the entry maps something.
    pub const fn is_present(self) -> bool {
        self.0 & PteFlags::PRESENT.bits() != 0
    }
}

wire_enum! {
    /// `mmu_update` commands, in the low bits of [`MmuUpdate::ptr`].
    pub enum MmuUpdateKind: u32 {
        /// Writes a page-table entry, checked; or plain memory, if that is what `ptr` leads to.
        NormalPtUpdate = 0,
        /// Sets the machine-to-phys entry of a frame.
        MachphysUpdate = 1,
        /// As 0, keeping the accessed and dirty bits that are set meanwhile.
        PtUpdatePreserveAd = 2,
        /// As 0, with a machine frame in any kind of guest.
        PtUpdateNoTranslate = 3,
    }
}

wire_enum! {
    /// `mmuext_op` commands.
    pub enum MmuextCommand: u32 {
        PinL1Table = 0,
        PinL2Table = 1,
        PinL3Table = 2,
        PinL4Table = 3,
        UnpinTable = 4,
        /// Loads the kernel's root.
        NewBaseptr = 5,
        TlbFlushLocal = 6,
        InvlpgLocal = 7,
        TlbFlushMulti = 8,
        InvlpgMulti = 9,
        TlbFlushAll = 10,
        InvlpgAll = 11,
        FlushCache = 12,
        SetLdt = 13,
        /// Sets the user's root.
        NewUserBaseptr = 15,
        ClearPage = 16,
        CopyPage = 17,
        FlushCacheGlobal = 18,
        MarkSuper = 19,
        UnmarkSuper = 20,
    }
}

/// `update_va_mapping`: which flush, in the low two bits of the flags.
pub const UVMF_FLUSHTYPE_MASK: u64 = 3;
/// No flush.
pub const UVMF_NONE: u64 = 0;
/// Flush everything.
pub const UVMF_TLB_FLUSH: u64 = 1;
/// Flush the one page.
pub const UVMF_INVLPG: u64 = 2;
/// Flush here; with other bits set, they lead to a bitmap of vCPUs instead.
pub const UVMF_LOCAL: u64 = 0;
/// Flush on the vCPUs of the bitmap that the other bits lead to.
pub const UVMF_MULTI: u64 = 0;
/// Flush on all the domain's vCPUs.
pub const UVMF_ALL: u64 = 1 << 2;

abi! {
    /// One update of a page-table or machine-to-phys entry.
    pub struct MmuUpdate: 16 {
        /// Machine address of the entry; the low two bits say which [`MmuUpdateKind`].
        0 => ptr: u64,
        /// The new contents.
        8 => val: u64,
    }

    /// One extended operation.
    pub struct MmuextOp: 24 {
        /// [`MmuextCommand`].
        0 => cmd: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// A frame or an address, as the command wants it.
        8 => arg1: u64,
        /// A count, a frame or the address of a bitmap, as the command wants it.
        16 => arg2: u64,
    }
}

impl MmuUpdate {
    /// The command in the low bits of `ptr`.
    pub const fn kind(&self) -> Option<MmuUpdateKind> {
        MmuUpdateKind::from_number((self.ptr & 3) as u32)
    }

    /// The machine address in `ptr`.
    pub const fn target(&self) -> u64 {
        self.ptr & !3
    }
}

impl MmuextOp {
    /// An operation on a frame.
    pub fn on_frame(command: MmuextCommand, frame: Mfn) -> Self {
        Self {
            cmd: command.number(),
            arg1: frame.get(),
            ..Self::default()
        }
    }

    /// An operation on an address.
    pub fn on_address(command: MmuextCommand, address: GuestVirtAddr, arg2: u64) -> Self {
        Self {
            cmd: command.number(),
            arg1: address.get(),
            arg2,
            ..Self::default()
        }
    }

    /// `arg1` as a frame.
    pub const fn mfn(&self) -> Mfn {
        Mfn::new(self.arg1)
    }

    /// `arg1` as an address.
    pub const fn linear_addr(&self) -> GuestVirtAddr {
        GuestVirtAddr::new(self.arg1)
    }

    /// `arg2` as a count: 32 bits of it.
    pub const fn nr_ents(&self) -> u32 {
        (self.arg2 & 0xffff_ffff) as u32
    }

    /// `arg2` as the address of a bitmap of vCPUs.
    pub const fn vcpumask(&self) -> GuestVirtAddr {
        GuestVirtAddr::new(self.arg2)
    }

    /// `arg2` as the frame to copy from.
    pub const fn src_mfn(&self) -> Mfn {
        Mfn::new(self.arg2)
    }
}
