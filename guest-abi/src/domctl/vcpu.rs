//! A domain's vCPUs: their state, where they run, and how much.

use crate::frame::GuestVirtAddr;
use crate::ids::VcpuId;

bitflags::bitflags! {
    /// `flags` of [`VcpuAffinity`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AffinityFlags: u32 {
        /// Where the vCPU may run.
        const HARD = 1 << 0;
        /// Where it would like to.
        const SOFT = 1 << 1;
        /// Whatever was pinned before.
        const FORCE = 1 << 2;
    }
}

wire_enum! {
    /// Schedulers, by their number.
    pub enum SchedulerId: u32 {
        Credit = 5,
        Credit2 = 6,
        Arinc653 = 7,
        Rtds = 8,
        Null = 9,
    }
}

wire_enum! {
    /// `cmd` of [`SchedulerOp`].
    pub enum SchedulerCommand: u32 {
        Putinfo = 0,
        Getinfo = 1,
        Putvcpuinfo = 2,
        Getvcpuinfo = 3,
    }
}

abi! {
    /// `max_vcpus`.
    pub struct MaxVcpus: 4 {
        0 => max: u32,
    }

    /// `setvcpucontext` and `getvcpucontext`.
    pub struct VcpuContext: 16 {
        0 => vcpu: VcpuId,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// Leads to a [`crate::vcpu::VcpuGuestContext`]; null resets the vCPU.
        8 => ctxt: GuestVirtAddr,
    }

    /// `getvcpuinfo`.
    pub struct VcpuState: 24 {
        0 => vcpu: VcpuId,
        4 => online: u8,
        5 => blocked: u8,
        6 => running: u8,
        #[doc(hidden)]
        7 => _pad0: u8,
        /// Nanoseconds run.
        8 => cpu_time: u64,
        /// The CPU it runs on, or ran on last.
        16 => cpu: u32,
        #[doc(hidden)]
        20 => _pad1: u32,
    }

    /// A bitmap in the caller's memory.
    pub struct Bitmap: 16 {
        0 => bitmap: GuestVirtAddr,
        8 => nr_bits: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
    }

    /// `setnodeaffinity` and `getnodeaffinity`.
    pub struct NodeAffinity: 16 {
        0 => nodemap: Bitmap,
    }

    /// `setvcpuaffinity` and `getvcpuaffinity`.
    pub struct VcpuAffinity: 40 {
        0 => vcpu: VcpuId,
        /// [`AffinityFlags`].
        4 => flags: u32,
        8 => cpumap_hard: Bitmap,
        24 => cpumap_soft: Bitmap,
    }

    /// Weight and cap of a credit scheduler.
    pub struct SchedCredit: 4 {
        0 => weight: u16,
        /// Hundredths of a CPU; 0 for none.
        2 => cap: u16,
    }

    /// `scheduler_op` with a domain's weight and cap.
    pub struct SchedulerOp: 24 {
        /// [`SchedulerId`].
        0 => sched_id: u32,
        /// [`SchedulerCommand`].
        4 => cmd: u32,
        8 => credit: SchedCredit,
        #[doc(hidden)]
        12 => _pad0: [u8; 12],
    }

    /// `sendtrigger`.
    pub struct SendTrigger: 8 {
        0 => trigger: u32,
        4 => vcpu: VcpuId,
    }

    /// `setvcpuextstate` and `getvcpuextstate`.
    pub struct VcpuExtState: 32 {
        0 => vcpu: VcpuId,
        #[doc(hidden)]
        4 => _pad0: u32,
        8 => xfeature_mask: u64,
        16 => size: u64,
        24 => buffer: GuestVirtAddr,
    }

    /// One of a vCPU's model-specific registers.
    pub struct VcpuMsr: 16 {
        0 => index: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        8 => value: u64,
    }

    /// `get_vcpu_msrs` and `set_vcpu_msrs`.
    pub struct VcpuMsrs: 16 {
        0 => vcpu: VcpuId,
        4 => msr_count: u32,
        /// Leads to [`VcpuMsr`]s.
        8 => msrs: GuestVirtAddr,
    }
}
