//! `domctl`: questions and orders about one domain, for the toolstack.
//!
//! Every call is one [`Domctl`]: command, version, domain and a payload whose type follows from
//! the command. The frame and what is about a domain as a whole stand here, the rest by subject in
//! the modules below.

mod frames;
mod rights;
mod vcpu;

use crate::cpuid::{CpuidLeaf, MsrEntry};
use crate::frame::{GuestVirtAddr, Mfn};
use crate::ids::DomIdArg;
use crate::version::DomainHandle;

pub use frames::{
    GetPageFrameInfo3, PFINFO_BROKEN, PFINFO_L1TAB, PFINFO_L2TAB, PFINFO_L3TAB, PFINFO_L4TAB,
    PFINFO_LPINTAB, PFINFO_LTAB_SHIFT, PFINFO_NOTAB, PFINFO_XALLOC, PFINFO_XTAB,
};
pub use rights::{IomemPermission, IoportPermission, IrqPermission};
pub use vcpu::{
    AffinityFlags, Bitmap, MaxVcpus, NodeAffinity, SchedCredit, SchedulerCommand, SchedulerId,
    SchedulerOp, SendTrigger, VcpuAffinity, VcpuContext, VcpuExtState, VcpuMsr, VcpuMsrs,
    VcpuState,
};

/// The version every call must carry; any other is answered with `EACCES`.
pub const INTERFACE_VERSION: u32 = 0x15;

wire_enum! {
    /// `domctl` commands.
    pub enum DomctlCommand: u32 {
        Createdomain = 1,
        Destroydomain = 2,
        Pausedomain = 3,
        Unpausedomain = 4,
        Getdomaininfo = 5,
        Setvcpuaffinity = 9,
        ShadowOp = 10,
        MaxMem = 11,
        Setvcpucontext = 12,
        Getvcpucontext = 13,
        Getvcpuinfo = 14,
        MaxVcpus = 15,
        SchedulerOp = 16,
        Setdomainhandle = 17,
        Setdebugging = 18,
        IrqPermission = 19,
        IomemPermission = 20,
        IoportPermission = 21,
        HypercallInit = 22,
        Settimeoffset = 24,
        Getvcpuaffinity = 25,
        Resumedomain = 27,
        Sendtrigger = 28,
        SetAddressSize = 35,
        GetAddressSize = 36,
        SetExtVcpucontext = 42,
        GetExtVcpucontext = 43,
        SetTarget = 46,
        Gettscinfo = 59,
        Settscinfo = 60,
        Getpageframeinfo3 = 61,
        Setvcpuextstate = 62,
        Getvcpuextstate = 63,
        SetVirqHandler = 66,
        Setnodeaffinity = 68,
        Getnodeaffinity = 69,
        GetVcpuMsrs = 72,
        SetVcpuMsrs = 73,
        SoftReset = 79,
        GetCpuPolicy = 82,
        SetCpuPolicy = 83,
    }
}

bitflags::bitflags! {
    /// `flags` of [`CreateDomain`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CreateFlags: u32 {
        /// Hardware-assisted.
        const HVM = 1 << 0;
        /// Hardware-assisted paging.
        const HAP = 1 << 1;
        /// Kept in order over host sleep.
        const S3_INTEGRITY = 1 << 2;
        /// Shadow tables never lag.
        const OOS_OFF = 1 << 3;
        /// The domain runs xenstore.
        const XS_DOMAIN = 1 << 4;
        /// The domain may get devices.
        const IOMMU = 1 << 5;
        /// The domain may nest.
        const NESTED_VIRT = 1 << 6;
        /// The domain may count performance events.
        const VPMU = 1 << 7;
    }

    /// The low bits of `flags` of [`DomainInfo`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DomainInfoFlags: u32 {
        /// Being destroyed.
        const DYING = 1 << 0;
        /// Hardware-assisted.
        const HVM_GUEST = 1 << 1;
        /// Shut down; the reason stands above [`DOMAIN_SHUTDOWN_SHIFT`].
        const SHUTDOWN = 1 << 2;
        /// Paused by the toolstack.
        const PAUSED = 1 << 3;
        /// All vCPUs wait.
        const BLOCKED = 1 << 4;
        /// Some vCPU runs.
        const RUNNING = 1 << 5;
        /// Being debugged.
        const DEBUGGED = 1 << 6;
        /// Runs xenstore.
        const XS_DOMAIN = 1 << 7;
        /// Hardware-assisted paging.
        const HAP = 1 << 8;
    }
}

/// Where the shutdown reason begins in `flags` of [`DomainInfo`].
pub const DOMAIN_SHUTDOWN_SHIFT: u32 = 16;
/// The width of the shutdown reason.
pub const DOMAIN_SHUTDOWN_MASK: u32 = 255;

abi! {
    /// The frame of every call.
    pub struct Domctl: 144 {
        /// [`DomctlCommand`].
        0 => cmd: u32,
        /// [`INTERFACE_VERSION`].
        4 => interface_version: u32,
        8 => domain: DomIdArg,
        #[doc(hidden)]
        10 => _pad0: [u8; 6],
        /// One of the structs of this module and those below it, or zeros.
        16 => payload: [u64; 16],
    }

    /// The x86 part of a domain's configuration.
    pub struct ArchDomainConfig: 8 {
        /// Emulated devices; none for a PV guest.
        0 => emulation_flags: u32,
        /// Bit 0: unknown MSRs read as zero.
        4 => misc_flags: u32,
    }

    /// `createdomain`; the frame's domain is the number wanted, or 0 for any.
    pub struct CreateDomain: 64 {
        0 => ssidref: u32,
        4 => handle: DomainHandle,
        /// [`CreateFlags`].
        20 => flags: u32,
        24 => iommu_opts: u32,
        28 => max_vcpus: u32,
        32 => max_evtchn_port: u32,
        /// -1 for the host's default.
        36 => max_grant_frames: i32,
        /// -1 for the host's default.
        40 => max_maptrack_frames: i32,
        /// Version of the grant table, in the low four bits.
        44 => grant_opts: u32,
        48 => vmtrace_size: u32,
        52 => cpupool_id: u32,
        56 => arch: ArchDomainConfig,
    }

    /// `getdomaininfo`: all out.
    pub struct DomainInfo: 112 {
        0 => domain: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        /// [`DomainInfoFlags`], and the shutdown reason.
        4 => flags: u32,
        8 => tot_pages: u64,
        16 => max_pages: u64,
        24 => outstanding_pages: u64,
        32 => shr_pages: u64,
        40 => paged_pages: u64,
        48 => shared_info_frame: Mfn,
        /// Nanoseconds run, all vCPUs together.
        56 => cpu_time: u64,
        64 => nr_online_vcpus: u32,
        68 => max_vcpu_id: u32,
        72 => ssidref: u32,
        76 => handle: DomainHandle,
        92 => cpupool: u32,
        96 => gpaddr_bits: u8,
        #[doc(hidden)]
        97 => _pad1: [u8; 7],
        104 => arch_config: ArchDomainConfig,
    }

    /// `max_mem`.
    pub struct MaxMem: 8 {
        0 => max_memkb: u64,
    }

    /// `setdomainhandle`.
    pub struct SetDomainHandle: 16 {
        0 => handle: DomainHandle,
    }

    /// `setdebugging`.
    pub struct SetDebugging: 1 {
        0 => enable: u8,
    }

    /// `hypercall_init`: fills a page with hypercall stubs.
    pub struct HypercallInit: 8 {
        0 => gmfn: Mfn,
    }

    /// `settimeoffset`.
    pub struct SetTimeOffset: 8 {
        0 => time_offset_seconds: i64,
    }

    /// `set_address_size` and `get_address_size`.
    pub struct AddressSize: 4 {
        /// 64 for the guests of this ABI.
        0 => size: u32,
    }

    /// `set_target`.
    pub struct SetTarget: 2 {
        0 => target: DomIdArg,
    }

    /// `settscinfo` and `gettscinfo`.
    pub struct TscInfo: 24 {
        0 => tsc_mode: u32,
        4 => gtsc_khz: u32,
        8 => incarnation: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
        16 => elapsed_nsec: u64,
    }

    /// `get_cpu_policy` and `set_cpu_policy`.
    pub struct CpuPolicy: 40 {
        0 => nr_leaves: u32,
        4 => nr_msrs: u32,
        /// Leads to [`CpuidLeaf`]s.
        8 => leaves: GuestVirtAddr,
        /// Leads to [`MsrEntry`]s.
        16 => msrs: GuestVirtAddr,
        /// Out: what a refusal was about.
        24 => err_leaf: u32,
        /// Out.
        28 => err_subleaf: u32,
        /// Out.
        32 => err_msr: u32,
        #[doc(hidden)]
        36 => _pad0: u32,
    }

    /// `set_virq_handler`.
    pub struct SetVirqHandler: 4 {
        /// [`crate::ids::Virq`].
        0 => virq: u32,
    }
}

payloads!(
    Domctl: CreateDomain, DomainInfo, GetPageFrameInfo3, MaxMem, VcpuContext, VcpuState,
    NodeAffinity, VcpuAffinity, MaxVcpus, SchedulerOp, SetDomainHandle, SetDebugging,
    IrqPermission, IomemPermission, IoportPermission, HypercallInit, SetTimeOffset, AddressSize,
    SendTrigger, SetTarget, TscInfo, CpuPolicy, VcpuExtState, VcpuMsrs, SetVirqHandler,
);

/// The elements of the lists a [`CpuPolicy`] leads to.
pub type PolicyElements = (CpuidLeaf, MsrEntry);

impl Domctl {
    /// A call without a payload.
    pub fn new(command: DomctlCommand, domain: DomIdArg) -> Self {
        Self {
            cmd: command.number(),
            interface_version: INTERFACE_VERSION,
            domain,
            ..Self::default()
        }
    }

    /// A call with a payload.
    pub fn with<P: Payload>(command: DomctlCommand, domain: DomIdArg, payload: &P) -> Self {
        let mut call = Self::new(command, domain);
        call.set_payload(payload);
        call
    }

    /// The command, if the number means one.
    pub const fn command(&self) -> Option<DomctlCommand> {
        DomctlCommand::from_number(self.cmd)
    }
}

impl DomainInfo {
    /// The flags without the shutdown reason.
    pub const fn info_flags(&self) -> DomainInfoFlags {
        DomainInfoFlags::from_bits_truncate(self.flags)
    }

    /// The number of the shutdown reason, which counts only if the domain has shut down.
    pub const fn shutdown_reason(&self) -> u32 {
        (self.flags >> DOMAIN_SHUTDOWN_SHIFT) & DOMAIN_SHUTDOWN_MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_comes_out_as_it_went_in() {
        let memory = MaxMem {
            max_memkb: 0x1234_5678_9abc,
        };
        let call = Domctl::with(DomctlCommand::MaxMem, DomIdArg::new(3), &memory);
        assert_eq!(call.payload::<MaxMem>(), memory);
        assert_eq!(call.command(), Some(DomctlCommand::MaxMem));
        assert_eq!(call.payload[1], 0);
    }
}
