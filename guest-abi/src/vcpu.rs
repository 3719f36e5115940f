//! vCPUs: the records they share with the hypervisor, their full context, and `vcpu_op`.

use crate::frame::{GuestVirtAddr, Mfn};
use crate::trap::TrapInfo;

wire_enum! {
    /// `vcpu_op` commands.
    pub enum VcpuOp: u32 {
        /// Gives a down vCPU its first context.
        Initialise = 0,
        Up = 1,
        Down = 2,
        IsUp = 3,
        GetRunstateInfo = 4,
        RegisterRunstateMemoryArea = 5,
        SetPeriodicTimer = 6,
        StopPeriodicTimer = 7,
        SetSingleshotTimer = 8,
        StopSingleshotTimer = 9,
        /// Moves a vCPU's [`VcpuInfo`] into the guest's own memory.
        RegisterVcpuInfo = 10,
        SendNmi = 11,
        GetPhysid = 12,
        RegisterVcpuTimeMemoryArea = 13,
    }
}

wire_enum! {
    /// What a vCPU is doing; indexes [`RunstateInfo::time`].
    pub enum Runstate: u32 {
        Running = 0,
        /// Wants to run, but another runs in its place.
        Runnable = 1,
        Blocked = 2,
        Offline = 3,
    }
}

/// Set in `state_entry_time` while the record changes, if the guest asked for it.
pub const RUNSTATE_UPDATE: u64 = 1 << 63;

bitflags::bitflags! {
    /// `flags` of [`VcpuTimeInfo`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TimeFlags: u8 {
        /// The time-stamp counter is synchronised over all CPUs.
        const TSC_STABLE = 1 << 0;
        /// The guest was stopped by its host.
        const GUEST_STOPPED = 1 << 1;
    }

    /// `flags` of [`VcpuGuestContext`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ContextFlags: u64 {
        /// `fpu_ctxt` holds an FXSAVE image.
        const I387_VALID = 1 << 0;
        /// The vCPU is in guest kernel mode.
        const IN_KERNEL = 1 << 2;
        /// The failsafe callback masks events.
        const FAILSAFE_DISABLES_EVENTS = 1 << 3;
        /// The syscall callback masks events.
        const SYSCALL_DISABLES_EVENTS = 1 << 4;
        /// The vCPU is up.
        const ONLINE = 1 << 5;
    }

    /// `flags` of [`SetSingleshotTimer`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SingleshotFlags: u32 {
        /// Refuse a timeout that has passed already.
        const FUTURE = 1 << 0;
    }
}

abi! {
    /// What the hypervisor tells one vCPU about its time.
    pub struct VcpuTimeInfo: 32 {
        /// Odd while the record changes.
        0 => version: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// The time-stamp counter when `system_time` was taken.
        8 => tsc_timestamp: u64,
        /// Nanoseconds since the host started.
        16 => system_time: u64,
        /// Nanoseconds a shifted tick, times 2^32.
        24 => tsc_to_system_mul: u32,
        /// Shift of the tick count before it is multiplied; negative shifts right.
        28 => tsc_shift: i8,
        /// [`TimeFlags`].
        29 => flags: u8,
        #[doc(hidden)]
        30 => _pad1: [u8; 2],
    }

    /// The x86 part of [`VcpuInfo`].
    pub struct ArchVcpuInfo: 16 {
        /// The address of the last page fault.
        0 => cr2: u64,
        #[doc(hidden)]
        8 => _pad0: u64,
    }

    /// What the hypervisor and one vCPU tell each other all the time.
    pub struct VcpuInfo: 64 {
        /// Not zero: some event waits.
        0 => evtchn_upcall_pending: u8,
        /// Not zero: deliver nothing. This is the guest kernel's interrupt flag.
        1 => evtchn_upcall_mask: u8,
        #[doc(hidden)]
        2 => _pad0: [u8; 6],
        /// A bit for each word of the pending array that may hold something.
        8 => evtchn_pending_sel: u64,
        16 => arch: ArchVcpuInfo,
        32 => time: VcpuTimeInfo,
    }

    /// How a vCPU has spent its time.
    pub struct RunstateInfo: 48 {
        /// [`Runstate`], signed in C.
        0 => state: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// When that state began, system time; see also [`RUNSTATE_UPDATE`].
        8 => state_entry_time: u64,
        /// Nanoseconds spent in each state.
        16 => time: [u64; 4],
    }

    /// A guest's registers, in Xen's order.
    pub struct CpuUserRegs: 200 {
        0 => r15: u64,
        8 => r14: u64,
        16 => r13: u64,
        24 => r12: u64,
        32 => rbp: u64,
        40 => rbx: u64,
        48 => r11: u64,
        56 => r10: u64,
        64 => r9: u64,
        72 => r8: u64,
        80 => rax: u64,
        88 => rcx: u64,
        96 => rdx: u64,
        104 => rsi: u64,
        112 => rdi: u64,
        /// Of the trap that interrupted the guest.
        120 => error_code: u32,
        /// Of the trap that interrupted the guest.
        124 => entry_vector: u32,
        128 => rip: u64,
        136 => cs: u16,
        #[doc(hidden)]
        138 => _pad0: [u8; 2],
        /// The upcall mask that was in force.
        140 => saved_upcall_mask: u8,
        #[doc(hidden)]
        141 => _pad1: [u8; 3],
        144 => rflags: u64,
        152 => rsp: u64,
        160 => ss: u16,
        #[doc(hidden)]
        162 => _pad2: [u8; 6],
        168 => es: u16,
        #[doc(hidden)]
        170 => _pad3: [u8; 6],
        176 => ds: u16,
        #[doc(hidden)]
        178 => _pad4: [u8; 6],
        184 => fs: u16,
        #[doc(hidden)]
        186 => _pad5: [u8; 6],
        192 => gs: u16,
        #[doc(hidden)]
        194 => _pad6: [u8; 6],
    }

    /// Everything that makes up a vCPU.
    pub struct VcpuGuestContext: 5168 {
        /// FXSAVE image.
        0 => fpu_ctxt: [u8; 512],
        /// [`ContextFlags`].
        512 => flags: u64,
        520 => user_regs: CpuUserRegs,
        720 => trap_ctxt: [TrapInfo; 256],
        4816 => ldt_base: GuestVirtAddr,
        4824 => ldt_ents: u64,
        4832 => gdt_frames: [Mfn; 16],
        4960 => gdt_ents: u64,
        4968 => kernel_ss: u64,
        /// The stack on which user mode enters the guest kernel.
        4976 => kernel_sp: u64,
        /// CR0 to CR7: 3 is the kernel's root and 1 the user's, both a frame shifted by 12.
        4984 => ctrlreg: [u64; 8],
        5048 => debugreg: [u64; 8],
        5112 => event_callback_eip: GuestVirtAddr,
        5120 => failsafe_callback_eip: GuestVirtAddr,
        5128 => syscall_callback_eip: GuestVirtAddr,
        /// A bit for each assist; honoured with vCPU 0 only.
        5136 => vm_assist: u64,
        5144 => fs_base: u64,
        5152 => gs_base_kernel: u64,
        5160 => gs_base_user: u64,
    }

    /// `VCPUOP_register_runstate_memory_area`: where to keep a [`RunstateInfo`] up to date.
    pub struct RegisterRunstateMemoryArea: 8 {
        0 => addr: GuestVirtAddr,
    }

    /// `VCPUOP_set_periodic_timer`.
    pub struct SetPeriodicTimer: 8 {
        0 => period_ns: u64,
    }

    /// `VCPUOP_set_singleshot_timer`: raise `Virq::Timer` once.
    pub struct SetSingleshotTimer: 16 {
        /// When, in system time.
        0 => timeout_abs_ns: u64,
        /// [`SingleshotFlags`].
        8 => flags: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
    }

    /// `VCPUOP_register_vcpu_info`: where the vCPU's [`VcpuInfo`] is to live.
    pub struct RegisterVcpuInfo: 16 {
        0 => mfn: Mfn,
        /// Within the page.
        8 => offset: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
    }

    /// `VCPUOP_get_physid`.
    pub struct GetPhysid: 8 {
        /// APIC id in the low half, ACPI id in the high half.
        0 => phys_id: u64,
    }

    /// `VCPUOP_register_vcpu_time_memory_area`: where to keep a copy of the [`VcpuTimeInfo`].
    pub struct RegisterTimeMemoryArea: 8 {
        0 => addr: GuestVirtAddr,
    }
}
