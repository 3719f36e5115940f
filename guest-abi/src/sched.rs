//! `sched_op`: yielding, blocking, polling and shutting down.

use crate::frame::GuestVirtAddr;
use crate::ids::DomIdArg;

wire_enum! {
    /// `sched_op` commands.
    pub enum SchedOp: u32 {
        Yield = 0,
        /// Unmasks events and sleeps until there is one.
        Block = 1,
        Shutdown = 2,
        /// Sleeps until one of some ports is pending, or a time is reached.
        Poll = 3,
        RemoteShutdown = 4,
        ShutdownCode = 5,
        Watchdog = 6,
        PinOverride = 7,
    }
}

wire_enum! {
    /// Why a domain shut down.
    pub enum ShutdownReason: u32 {
        Poweroff = 0,
        Reboot = 1,
        Suspend = 2,
        Crash = 3,
        Watchdog = 4,
        SoftReset = 5,
    }
}

/// Ports one poll may name.
pub const MAX_POLL_PORTS: u32 = 128;

abi! {
    /// `SCHEDOP_shutdown`.
    pub struct Shutdown: 4 {
        /// [`ShutdownReason`].
        0 => reason: u32,
    }

    /// `SCHEDOP_poll`.
    pub struct Poll: 24 {
        /// Leads to a u32 a port.
        0 => ports: GuestVirtAddr,
        8 => nr_ports: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
        /// System time at which to give up; 0 for never.
        16 => timeout: u64,
    }

    /// `SCHEDOP_remote_shutdown`: records another domain's end.
    pub struct RemoteShutdown: 8 {
        0 => domain_id: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        /// [`ShutdownReason`].
        4 => reason: u32,
    }

    /// `SCHEDOP_watchdog`.
    pub struct Watchdog: 8 {
        /// 0 makes a new one.
        0 => id: u32,
        /// Seconds; 0 stops it.
        4 => timeout: u32,
    }

    /// `SCHEDOP_pin_override`.
    pub struct PinOverride: 4 {
        0 => pcpu: i32,
    }
}
