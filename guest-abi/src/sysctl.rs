//! `sysctl`: questions and orders about the whole host, for the toolstack.
//!
//! Every call is one [`Sysctl`]: command, version and a payload whose type follows from the
//! command.

use crate::domctl::Bitmap;
use crate::frame::{GuestVirtAddr, Mfn};
use crate::ids::DomIdArg;

/// The version every call must carry; any other is answered with `EACCES`.
pub const INTERFACE_VERSION: u32 = 0x15;

wire_enum! {
    /// `sysctl` commands.
    pub enum SysctlCommand: u32 {
        Readconsole = 1,
        TbufOp = 2,
        Physinfo = 3,
        SchedId = 4,
        PerfcOp = 5,
        Getdomaininfolist = 6,
        DebugKeys = 7,
        Getcpuinfo = 8,
        Availheap = 9,
        GetPmstat = 10,
        CpuHotplug = 11,
        PmOp = 12,
        PageOfflineOp = 14,
        LockprofOp = 15,
        Cputopoinfo = 16,
        Numainfo = 17,
        CpupoolOp = 18,
        SchedulerOp = 19,
        CoverageOp = 20,
        PsrCmtOp = 21,
        Pcitopoinfo = 22,
        PsrAlloc = 23,
        GetCpuLevellingCaps = 25,
        GetCpuFeatureset = 26,
        LivepatchOp = 27,
        GetCpuPolicy = 29,
    }
}

bitflags::bitflags! {
    /// `capabilities` of [`PhysInfo`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PhysCaps: u32 {
        /// Runs hardware-assisted guests.
        const HVM = 1 << 0;
        /// Runs PV guests.
        const PV = 1 << 1;
        /// Passes devices through.
        const DIRECTIO = 1 << 2;
        /// Hardware-assisted paging.
        const HAP = 1 << 3;
        /// Shadow paging.
        const SHADOW = 1 << 4;
        /// Shares page tables with devices.
        const IOMMU_HAP_PT_SHARE = 1 << 5;
        /// Traces vCPUs.
        const VMTRACE = 1 << 6;
        /// Lends performance counters.
        const VPMU = 1 << 7;
        /// Grant tables of version 1.
        const GNTTAB_V1 = 1 << 8;
        /// Grant tables of version 2.
        const GNTTAB_V2 = 1 << 9;
    }
}

/// A core, socket or node that is not known.
pub const INVALID_TOPOLOGY_ID: u32 = u32::MAX;

wire_enum! {
    /// `op` of [`CpupoolOp`].
    pub enum CpupoolCommand: u32 {
        Create = 1,
        Destroy = 2,
        Info = 3,
        Addcpu = 4,
        Rmcpu = 5,
        Movedomain = 6,
        Freeinfo = 7,
    }
}

abi! {
    /// The frame of every call.
    pub struct Sysctl: 136 {
        /// [`SysctlCommand`].
        0 => cmd: u32,
        /// [`INTERFACE_VERSION`].
        4 => interface_version: u32,
        /// One of the structs below, or zeros.
        8 => payload: [u64; 16],
    }

    /// `readconsole`: the hypervisor's log.
    pub struct ReadConsole: 24 {
        /// Forget what was read.
        0 => clear: u8,
        /// Read from `index` on.
        1 => incremental: u8,
        #[doc(hidden)]
        2 => _pad0: [u8; 2],
        /// In: from where. Out: where to go on.
        4 => index: u32,
        8 => buffer: GuestVirtAddr,
        /// In: room. Out: bytes read.
        16 => count: u32,
        #[doc(hidden)]
        20 => _pad1: u32,
    }

    /// `physinfo`: all out.
    pub struct PhysInfo: 112 {
        0 => threads_per_core: u32,
        4 => cores_per_socket: u32,
        8 => nr_cpus: u32,
        12 => max_cpu_id: u32,
        16 => nr_nodes: u32,
        20 => max_node_id: u32,
        24 => cpu_khz: u32,
        /// [`PhysCaps`].
        28 => capabilities: u32,
        32 => arch_capabilities: u32,
        #[doc(hidden)]
        36 => _pad0: u32,
        40 => total_pages: u64,
        48 => free_pages: u64,
        56 => scrub_pages: u64,
        64 => outstanding_pages: u64,
        72 => max_mfn: Mfn,
        /// Words of the CPU's feature bits.
        80 => hw_cap: [u32; 8],
    }

    /// `sched_id`.
    pub struct SchedId: 4 {
        /// Out: [`crate::domctl::SchedulerId`].
        0 => sched_id: u32,
    }

    /// `getdomaininfolist`: the domains from a number on.
    pub struct GetDomainInfoList: 24 {
        0 => first_domain: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        4 => max_domains: u32,
        /// Leads to [`crate::domctl::DomainInfo`]s.
        8 => buffer: GuestVirtAddr,
        /// Out.
        16 => num_domains: u32,
        #[doc(hidden)]
        20 => _pad1: u32,
    }

    /// `debug_keys`: runs the debug functions behind some letters.
    pub struct DebugKeys: 16 {
        0 => keys: GuestVirtAddr,
        8 => nr_keys: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
    }

    /// One CPU, as `getcpuinfo` tells it.
    pub struct CpuInfo: 8 {
        /// Nanoseconds.
        0 => idletime: u64,
    }

    /// `getcpuinfo`.
    pub struct GetCpuInfo: 24 {
        0 => max_cpus: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// Leads to [`CpuInfo`]s.
        8 => info: GuestVirtAddr,
        /// Out.
        16 => nr_cpus: u32,
        #[doc(hidden)]
        20 => _pad1: u32,
    }

    /// `availheap`.
    pub struct AvailHeap: 24 {
        0 => min_bitwidth: u32,
        /// 0 for any.
        4 => max_bitwidth: u32,
        /// -1 for all.
        8 => node: i32,
        #[doc(hidden)]
        12 => _pad0: u32,
        /// Out.
        16 => avail_bytes: u64,
    }

    /// One CPU's place.
    pub struct CpuTopology: 12 {
        0 => core: u32,
        4 => socket: u32,
        8 => node: u32,
    }

    /// `cputopoinfo`.
    pub struct CpuTopologyInfo: 16 {
        /// In: room. Out: CPUs there are.
        0 => num_cpus: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// Leads to [`CpuTopology`]s; null asks for their number.
        8 => cputopo: GuestVirtAddr,
    }

    /// One node's memory, in bytes.
    pub struct MemInfo: 16 {
        0 => memsize: u64,
        8 => memfree: u64,
    }

    /// `numainfo`.
    pub struct NumaInfo: 24 {
        /// In: room. Out: nodes there are.
        0 => num_nodes: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// Leads to [`MemInfo`]s.
        8 => meminfo: GuestVirtAddr,
        /// Leads to a u32 for each pair of nodes.
        16 => distance: GuestVirtAddr,
    }

    /// `cpupool_op`.
    pub struct CpupoolOp: 40 {
        /// [`CpupoolCommand`].
        0 => op: u32,
        4 => cpupool_id: u32,
        8 => sched_id: u32,
        12 => domid: u32,
        16 => cpu: u32,
        20 => n_dom: u32,
        24 => cpumap: Bitmap,
    }

    /// `get_cpu_levelling_caps`.
    pub struct CpuLevellingCaps: 4 {
        0 => caps: u32,
    }

    /// `get_cpu_featureset`.
    pub struct CpuFeatureset: 16 {
        0 => index: u32,
        /// In: room. Out: words there are.
        4 => nr_features: u32,
        /// Leads to u32s.
        8 => features: GuestVirtAddr,
    }
}

payloads!(
    Sysctl: ReadConsole, PhysInfo, SchedId, GetDomainInfoList, DebugKeys, GetCpuInfo, AvailHeap,
    CpuTopologyInfo, NumaInfo, CpupoolOp, CpuLevellingCaps, CpuFeatureset,
);

impl Sysctl {
    /// A call without a payload.
    pub fn new(command: SysctlCommand) -> Self {
        Self {
            cmd: command.number(),
            interface_version: INTERFACE_VERSION,
            ..Self::default()
        }
    }

    /// A call with a payload.
    pub fn with<P: Payload>(command: SysctlCommand, payload: &P) -> Self {
        let mut call = Self::new(command);
        call.set_payload(payload);
        call
    }

    /// The command, if the number means one.
    pub const fn command(&self) -> Option<SysctlCommand> {
        SysctlCommand::from_number(self.cmd)
    }
}
