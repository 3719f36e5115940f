//! `xen_version`: what hypervisor this is and what it can do.

wire_enum! {
    /// `xen_version` commands.
    pub enum VersionOp: u32 {
        Version = 0,
        Extraversion = 1,
        CompileInfo = 2,
        Capabilities = 3,
        Changeset = 4,
        PlatformParameters = 5,
        GetFeatures = 6,
        Pagesize = 7,
        GuestHandle = 8,
        Commandline = 9,
        BuildId = 10,
    }
}

bitflags::bitflags! {
    /// Features, as bits of the first (and only) submap.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct XenFeatures: u32 {
        /// Guests may write page tables as they like.
        const WRITABLE_PAGE_TABLES = 1 << 0;
        /// Guests may write descriptor tables as they like.
        const WRITABLE_DESCRIPTOR_TABLES = 1 << 1;
        /// Guest frames are translated by the hypervisor.
        const AUTO_TRANSLATED_PHYSMAP = 1 << 2;
        /// The guest kernel runs in supervisor mode.
        const SUPERVISOR_MODE_KERNEL = 1 << 3;
        /// Roots may lie above four gigabytes.
        const PAE_PGDIR_ABOVE_4GB = 1 << 4;
        /// `mmu_update` can keep accessed and dirty bits.
        const MMU_PT_UPDATE_PRESERVE_AD = 1 << 5;
        /// `mmuext_op` can clear and copy pages.
        const HIGHMEM_ASSIST = 1 << 6;
        /// Grant mappings keep the guest's own bits.
        const GNTTAB_MAP_AVAIL_BITS = 1 << 7;
        /// Events by vector.
        const HVM_CALLBACK_VECTOR = 1 << 8;
        /// Safe clock for hardware-assisted guests.
        const HVM_SAFE_PVCLOCK = 1 << 9;
        /// Device interrupts as events for hardware-assisted guests.
        const HVM_PIRQS = 1 << 10;
        /// The guest is, or can be, dom0.
        const DOM0 = 1 << 11;
        /// Memory can be asked for by virtual node.
        const MEMORY_OP_VNODE_SUPPORTED = 1 << 13;
        /// Arm only.
        const ARM_SMCCC_SUPPORTED = 1 << 14;
        /// The start-up structures may lie anywhere.
        const LINUX_RSDP_UNRESTRICTED = 1 << 15;
        /// Guest frames are not machine frames.
        const NOT_DIRECT_MAPPED = 1 << 16;
        /// Guest frames are machine frames.
        const DIRECT_MAPPED = 1 << 17;
    }
}

/// Submaps of features there are.
pub const XENFEAT_NR_SUBMAPS: u32 = 1;

/// A zero-terminated name after the version, such as ".7".
pub type Extraversion = [u8; 16];
/// Zero-terminated list of guest types, separated by blanks.
pub type Capabilities = [u8; 1024];
/// Zero-terminated description of the source.
pub type Changeset = [u8; 64];
/// Zero-terminated command line of the hypervisor.
pub type Commandline = [u8; 1024];
/// A domain's UUID.
pub type DomainHandle = [u8; 16];

abi! {
    /// How the hypervisor was built.
    pub struct CompileInfo: 144 {
        0 => compiler: [u8; 64],
        64 => compile_by: [u8; 16],
        80 => compile_domain: [u8; 32],
        112 => compile_date: [u8; 32],
    }

    /// Where the hypervisor's part of the address space begins.
    pub struct PlatformParameters: 8 {
        0 => virt_start: u64,
    }

    /// Asks for one submap of features.
    pub struct FeatureInfo: 8 {
        0 => submap_idx: u32,
        /// Out: [`XenFeatures`].
        4 => submap: u32,
    }
}
