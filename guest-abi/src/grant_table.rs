//! Grants: the table's entries (version 1) and `grant_table_op`.

use crate::frame::{GuestVirtAddr, MachAddr, PAGE_SIZE, Pfn};
use crate::ids::{DomIdArg, GrantHandle, GrantRef};

wire_enum! {
    /// `grant_table_op` commands.
    pub enum GrantTableOp: u32 {
        MapGrantRef = 0,
        UnmapGrantRef = 1,
        SetupTable = 2,
        DumpTable = 3,
        Transfer = 4,
        Copy = 5,
        QuerySize = 6,
        UnmapAndReplace = 7,
        SetVersion = 8,
        GetStatusFrames = 9,
        GetVersion = 10,
        SwapGrantRef = 11,
        CacheFlush = 12,
    }
}

wire_enum! {
    /// How one grant operation ended.
    pub enum GrantStatus: i16 {
        Okay = 0,
        GeneralError = -1,
        BadDomain = -2,
        BadGntref = -3,
        BadHandle = -4,
        BadVirtAddr = -5,
        BadDevAddr = -6,
        NoDeviceSpace = -7,
        PermissionDenied = -8,
        BadPage = -9,
        BadCopyArg = -10,
        AddressTooBig = -11,
        /// Try again later.
        Eagain = -12,
        NoSpace = -13,
    }
}

/// Entries of version 1 in a page.
pub const ENTRIES_PER_PAGE: usize = PAGE_SIZE / size_of::<GrantEntryV1>();

/// The bits of an entry's flags that hold its type.
pub const GTF_TYPE_MASK: u16 = 3;
/// Entry type: free.
pub const GTF_INVALID: u16 = 0;
/// Entry type: the domain named may map or copy the frame.
pub const GTF_PERMIT_ACCESS: u16 = 1;
/// Entry type: the domain named may give us a frame.
pub const GTF_ACCEPT_TRANSFER: u16 = 2;
/// Entry type (version 2): passes on another domain's grant.
pub const GTF_TRANSITIVE: u16 = 3;

bitflags::bitflags! {
    /// The bits of an entry's flags beside its type.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GrantEntryFlags: u16 {
        /// Reading only.
        const READONLY = 1 << 2;
        /// Set by the hypervisor: in use for reading.
        const READING = 1 << 3;
        /// Set by the hypervisor: in use for writing.
        const WRITING = 1 << 4;
        /// Cache attribute.
        const PWT = 1 << 5;
        /// Cache attribute.
        const PCD = 1 << 6;
        /// Cache attribute.
        const PAT = 1 << 7;
        /// Version 2: part of a page.
        const SUB_PAGE = 1 << 8;
    }

    /// `flags` of [`MapGrantRef`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MapFlags: u32 {
        /// Map for devices.
        const DEVICE_MAP = 1 << 0;
        /// Map for the CPU.
        const HOST_MAP = 1 << 1;
        /// Read only.
        const READONLY = 1 << 2;
        /// Map for user mode.
        const APPLICATION_MAP = 1 << 3;
        /// `host_addr` is the machine address of the page-table entry to write.
        const CONTAINS_PTE = 1 << 4;
        /// The guest's own bits of the entry.
        const GUEST_AVAIL_MASK = 0xffff << 16;
    }

    /// `flags` of [`GrantCopy`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CopyFlags: u16 {
        /// The source is a grant.
        const SOURCE_GREF = 1 << 0;
        /// The destination is a grant.
        const DEST_GREF = 1 << 1;
    }
}

abi! {
    /// A grant-table entry, version 1.
    pub struct GrantEntryV1: 8 {
        /// Type and [`GrantEntryFlags`].
        0 => flags: u16,
        /// Who is granted.
        2 => domid: DomIdArg,
        /// What is granted.
        4 => frame: u32,
    }

    /// Maps a foreign grant.
    pub struct MapGrantRef: 32 {
        /// Where: an address, or the machine address of an entry.
        0 => host_addr: u64,
        /// [`MapFlags`].
        8 => flags: u32,
        12 => reference: GrantRef,
        16 => dom: DomIdArg,
        /// Out: [`GrantStatus`].
        18 => status: i16,
        /// Out: names the mapping.
        20 => handle: GrantHandle,
        /// Out: the frame, as devices see it.
        24 => dev_bus_addr: MachAddr,
    }

    /// Unmaps a foreign grant.
    pub struct UnmapGrantRef: 24 {
        0 => host_addr: u64,
        8 => dev_bus_addr: MachAddr,
        16 => handle: GrantHandle,
        /// Out: [`GrantStatus`].
        20 => status: i16,
        #[doc(hidden)]
        22 => _pad0: u16,
    }

    /// Grows a domain's table, and tells its frames.
    pub struct SetupTable: 24 {
        0 => dom: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        4 => nr_frames: u32,
        /// Out: [`GrantStatus`].
        8 => status: i16,
        #[doc(hidden)]
        10 => _pad1: [u8; 6],
        /// Leads to room for a u64 a frame.
        16 => frame_list: GuestVirtAddr,
    }

    /// Asks for a table to be logged.
    pub struct DumpTable: 4 {
        0 => dom: DomIdArg,
        /// Out: [`GrantStatus`].
        2 => status: i16,
    }

    /// One end of a [`GrantCopy`].
    pub struct CopyEnd: 16 {
        /// A grant reference (32 bits of it) or a frame.
        0 => what: u64,
        8 => domid: DomIdArg,
        10 => offset: u16,
        #[doc(hidden)]
        12 => _pad0: u32,
    }

    /// Copies within two pages, each one's own or granted.
    pub struct GrantCopy: 40 {
        0 => source: CopyEnd,
        16 => dest: CopyEnd,
        32 => len: u16,
        /// [`CopyFlags`].
        34 => flags: u16,
        /// Out: [`GrantStatus`].
        36 => status: i16,
        #[doc(hidden)]
        38 => _pad0: u16,
    }

    /// Asks how large a domain's table is.
    pub struct QuerySize: 16 {
        0 => dom: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        /// Out.
        4 => nr_frames: u32,
        /// Out.
        8 => max_nr_frames: u32,
        /// Out: [`GrantStatus`].
        12 => status: i16,
        #[doc(hidden)]
        14 => _pad1: u16,
    }

    /// Unmaps a grant and moves another mapping into its place.
    pub struct UnmapAndReplace: 24 {
        0 => host_addr: u64,
        8 => new_addr: u64,
        16 => handle: GrantHandle,
        /// Out: [`GrantStatus`].
        20 => status: i16,
        #[doc(hidden)]
        22 => _pad0: u16,
    }

    /// Asks for a version of the table.
    pub struct SetVersion: 4 {
        /// In: the one wanted. Out: the one in force.
        0 => version: u32,
    }

    /// Asks which version a domain uses.
    pub struct GetVersion: 8 {
        0 => dom: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        /// Out.
        4 => version: u32,
    }

    /// Exchanges two entries.
    pub struct SwapGrantRef: 12 {
        0 => ref_a: GrantRef,
        4 => ref_b: GrantRef,
        /// Out: [`GrantStatus`].
        8 => status: i16,
        #[doc(hidden)]
        10 => _pad0: u16,
    }
}

impl GrantEntryV1 {
    /// The type bits of the flags.
    pub const fn kind(&self) -> u16 {
        self.flags & GTF_TYPE_MASK
    }

    /// The other bits of the flags.
    pub const fn entry_flags(&self) -> GrantEntryFlags {
        GrantEntryFlags::from_bits_truncate(self.flags)
    }
}

impl CopyEnd {
    /// A place in a granted page.
    pub fn granted(domid: DomIdArg, reference: GrantRef, offset: u16) -> Self {
        Self {
            what: u64::from(reference.get()),
            domid,
            offset,
            ..Self::default()
        }
    }

    /// A place in a page named by its frame.
    pub fn frame(domid: DomIdArg, frame: Pfn, offset: u16) -> Self {
        Self {
            what: frame.get(),
            domid,
            offset,
            ..Self::default()
        }
    }

    /// The grant reference, where the copy's flags say that this is one.
    pub const fn reference(&self) -> GrantRef {
        GrantRef::new((self.what & 0xffff_ffff) as u32)
    }
}
