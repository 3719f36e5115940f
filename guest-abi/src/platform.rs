//! `platform_op`: the few operations on the machine that dom0 needs.

/// The version every call must carry.
pub const INTERFACE_VERSION: u32 = 0x0300_0001;

wire_enum! {
    /// `platform_op` commands.
    pub enum PlatformCommand: u32 {
        Settime32 = 17,
        MicrocodeUpdate = 35,
        EfiRuntimeCall = 49,
        FirmwareInfo = 50,
        EnterAcpiSleep = 51,
        SetProcessorPminfo = 54,
        GetCpuinfo = 55,
        CpuOnline = 56,
        CpuOffline = 57,
        Settime64 = 62,
        GetSymbol = 63,
    }
}

abi! {
    /// The frame of every call.
    pub struct PlatformOp: 136 {
        /// [`PlatformCommand`].
        0 => cmd: u32,
        4 => interface_version: u32,
        /// One of the structs below, or zeros.
        8 => payload: [u64; 16],
    }

    /// `XENPF_settime64`.
    pub struct Settime64: 24 {
        0 => secs: u64,
        8 => nsecs: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
        /// When it was that late, in system time.
        16 => system_time: u64,
    }

    /// `XENPF_get_cpuinfo`.
    pub struct PcpuInfo: 20 {
        0 => xen_cpuid: u32,
        /// Out.
        4 => max_present: u32,
        /// Out.
        8 => flags: u32,
        /// Out.
        12 => apic_id: u32,
        /// Out.
        16 => acpi_id: u32,
    }
}

/// Flag of [`PcpuInfo`]: the CPU is on line.
pub const PCPU_FLAGS_ONLINE: u32 = 1;
/// Flag of [`PcpuInfo`]: there is no such CPU.
pub const PCPU_FLAGS_INVALID: u32 = 2;

payloads!(PlatformOp: Settime64, PcpuInfo);
