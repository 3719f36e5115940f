//! Hypercall numbers, and the registers a call travels in.

wire_enum! {
    /// A hypercall, by Xen's number.
    pub enum Hypercall: u64 {
        /// Installs exception handlers.
        SetTrapTable = 0,
        /// Updates page-table entries and machine-to-phys entries, in batches.
        MmuUpdate = 1,
        /// Installs a global descriptor table.
        SetGdt = 2,
        /// Sets the stack on which user mode enters the guest kernel.
        StackSwitch = 3,
        /// Sets the three classic callbacks; superseded by `callback_op`.
        SetCallbacks = 4,
        /// Sets or clears the virtual task-switched flag.
        FpuTaskswitch = 5,
        /// The first `sched_op`.
        SchedOpCompat = 6,
        /// Operations on the machine, for dom0.
        PlatformOp = 7,
        /// Sets a debug register.
        SetDebugreg = 8,
        /// Reads a debug register.
        GetDebugreg = 9,
        /// Writes one segment descriptor.
        UpdateDescriptor = 10,
        /// Memory reservations and maps.
        MemoryOp = 12,
        /// Several hypercalls in one.
        Multicall = 13,
        /// Updates the entry that maps one address.
        UpdateVaMapping = 14,
        /// Sets the vCPU's timer; superseded by `vcpu_op`.
        SetTimerOp = 15,
        /// The first `event_channel_op`.
        EventChannelOpCompat = 16,
        /// What hypervisor this is; also the cheapest call that takes pending events.
        XenVersion = 17,
        /// The emergency console.
        ConsoleIo = 18,
        /// The first `physdev_op`.
        PhysdevOpCompat = 19,
        /// Grants.
        GrantTableOp = 20,
        /// Switches the hypervisor's help on and off.
        VmAssist = 21,
        /// `update_va_mapping` with a foreign domain's frame.
        UpdateVaMappingOtherdomain = 22,
        /// Returns from a handler.
        Iret = 23,
        /// Operations on vCPUs.
        VcpuOp = 24,
        /// Sets a segment base.
        SetSegmentBase = 25,
        /// Pins, base pointers, TLB flushes.
        MmuextOp = 26,
        /// Security module operations.
        XsmOp = 27,
        /// Non-maskable interrupts.
        NmiOp = 28,
        /// Yield, block, shut down, poll.
        SchedOp = 29,
        /// Registers callbacks.
        CallbackOp = 30,
        /// The profiler.
        XenoprofOp = 31,
        /// Event channels.
        EventChannelOp = 32,
        /// Physical devices and their interrupts.
        PhysdevOp = 33,
        /// Hardware-assisted guests only.
        HvmOp = 34,
        /// Questions and orders about the whole host.
        Sysctl = 35,
        /// Questions and orders about one domain.
        Domctl = 36,
        /// Kexec.
        KexecOp = 37,
        /// Transcendent memory, gone from Xen.
        TmemOp = 38,
        /// Messages between domains.
        ArgoOp = 39,
        /// Performance counters.
        XenpmuOp = 40,
        /// Device models.
        DmOp = 41,
        /// The hypervisor's own file system.
        HypfsOp = 42,
        /// Machine checks (architecture call 0).
        Mca = 48,
    }
}

/// How many argument registers a call can use.
pub const MAX_ARGS: usize = 6;

/// A hypercall as it arrives: RAX, then RDI, RSI, RDX, R10, R8 and R9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawCall {
    /// The number, RAX.
    pub number: u64,
    /// The arguments, in order.
    pub args: [u64; MAX_ARGS],
}

impl RawCall {
    /// A call with up to six arguments; the rest are zero.
    pub fn new<const N: usize>(call: Hypercall, args: [u64; N]) -> Self {
        const { assert!(N <= MAX_ARGS) };
        let mut all = [0; MAX_ARGS];
        for (slot, arg) in all.iter_mut().zip(args) {
            *slot = arg;
        }
        Self {
            number: call.number(),
            args: all,
        }
    }

    /// The call meant, if the number means one.
    pub const fn call(&self) -> Option<Hypercall> {
        Hypercall::from_number(self.number)
    }
}
