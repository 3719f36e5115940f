//! `memory_op`: reservations, the maps of memory, and pages mapped on behalf of tools.

use crate::frame::{GuestVirtAddr, Mfn, Pfn};
use crate::ids::DomIdArg;

wire_enum! {
    /// `memory_op` commands.
    pub enum MemoryOp: u32 {
        IncreaseReservation = 0,
        DecreaseReservation = 1,
        MaximumRamPage = 2,
        CurrentReservation = 3,
        MaximumReservation = 4,
        MachphysMfnList = 5,
        PopulatePhysmap = 6,
        AddToPhysmap = 7,
        MemoryMap = 9,
        MachineMemoryMap = 10,
        Exchange = 11,
        MachphysMapping = 12,
        SetMemoryMap = 13,
        MaximumGpfn = 14,
        RemoveFromPhysmap = 15,
        SetPodTarget = 16,
        GetPodTarget = 17,
        AddToPhysmapBatch = 23,
        ClaimPages = 24,
        GetVnumainfo = 26,
        ReservedDeviceMemoryMap = 27,
        AcquireResource = 28,
    }
}

/// A continued call keeps its progress above these bits of the command register.
pub const MEMOP_CMD_BITS: u32 = 6;

/// `mem_flags`: the low byte bounds the width of the addresses, 0 for any.
pub const MEMF_ADDRESS_BITS_MASK: u32 = 0xff;
/// `mem_flags`: take memory from the node named, or none.
pub const MEMF_EXACT_NODE_REQUEST: u32 = 1 << 17;
/// `mem_flags`: the node is a virtual one.
pub const MEMF_VNODE: u32 = 1 << 18;
/// `mem_flags`: populate on demand.
pub const MEMF_POPULATE_ON_DEMAND: u32 = 1 << 16;

wire_enum! {
    /// A range's kind in a memory map.
    pub enum E820Type: u32 {
        Ram = 1,
        Reserved = 2,
        Acpi = 3,
        Nvs = 4,
        Unusable = 5,
    }
}

wire_enum! {
    /// What `acquire_resource` maps.
    pub enum ResourceType: u16 {
        IoreqServer = 0,
        GrantTable = 1,
        VmtraceBuf = 2,
    }
}

/// `id` of a grant-table resource: the entries.
pub const RESOURCE_GRANT_TABLE_ID_SHARED: u32 = 0;
/// `id` of a grant-table resource: version 2's status words.
pub const RESOURCE_GRANT_TABLE_ID_STATUS: u32 = 1;

abi! {
    /// Populate, decrease, increase: a list of extents.
    pub struct MemoryReservation: 32 {
        /// Leads to a u64 an extent: a frame each.
        0 => extent_start: GuestVirtAddr,
        8 => nr_extents: u64,
        /// Pages in an extent, as a power of two.
        16 => extent_order: u32,
        20 => mem_flags: u32,
        24 => domid: DomIdArg,
        #[doc(hidden)]
        26 => _pad0: [u8; 6],
    }

    /// Gives frames back for others, say contiguous ones.
    pub struct MemoryExchange: 72 {
        /// What is given.
        0 => give: MemoryReservation,
        /// What is wanted.
        32 => take: MemoryReservation,
        64 => nr_exchanged: u64,
    }

    /// A bare domain as the argument.
    pub struct MemoryDomain: 2 {
        0 => domid: DomIdArg,
    }

    /// The frames of the machine-to-phys table.
    pub struct MachphysMfnList: 24 {
        0 => max_extents: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        8 => extent_start: GuestVirtAddr,
        16 => nr_extents: u32,
        #[doc(hidden)]
        20 => _pad1: u32,
    }

    /// Where the machine-to-phys table is mapped.
    pub struct MachphysMapping: 24 {
        0 => v_start: u64,
        8 => v_end: u64,
        16 => max_mfn: Mfn,
    }

    /// Puts one special frame into a translated guest's memory.
    pub struct AddToPhysmap: 24 {
        0 => domid: DomIdArg,
        2 => size: u16,
        4 => space: u32,
        8 => idx: u64,
        16 => gpfn: Pfn,
    }

    /// Takes one frame out of a translated guest's memory.
    pub struct RemoveFromPhysmap: 16 {
        0 => domid: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: [u8; 6],
        8 => gpfn: Pfn,
    }

    /// A buffer for [`E820Entry`]s.
    pub struct MemoryMap: 16 {
        /// Room on the way in, entries on the way out.
        0 => nr_entries: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        8 => buffer: GuestVirtAddr,
    }

    /// Sets another domain's memory map.
    pub struct ForeignMemoryMap: 24 {
        0 => domid: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: [u8; 6],
        8 => map: MemoryMap,
    }

    /// One range of a memory map. Twenty bytes, without padding.
    #[repr(packed)]
    pub struct E820Entry: 20 {
        0 => addr: u64,
        8 => size: u64,
        /// [`E820Type`].
        16 => kind: u32,
    }

    /// Frames of a resource that belongs to a domain without being its memory.
    pub struct AcquireResource: 32 {
        0 => domid: DomIdArg,
        /// [`ResourceType`].
        2 => kind: u16,
        4 => id: u32,
        8 => nr_frames: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
        /// The first frame wanted.
        16 => frame: u64,
        /// Leads to room for a u64 a frame; null asks for their number.
        24 => frame_list: GuestVirtAddr,
    }
}
