//! Which interrupt vector is for what.
//!
//! 0x20 to 0x2f are where the legacy controllers would deliver (masked), 0x80 is Linux's, 0x30 to
//! 0xef go to devices (see `irq`), the highest belong to the core.

/// The first vector for devices.
pub const FIRST_DEVICE: u8 = 0x30;
/// The last vector for devices.
pub const LAST_DEVICE: u8 = 0xef;
/// Guests use it themselves.
pub const LINUX_SYSCALL: u8 = 0x80;
/// The serial port.
pub const SERIAL: u8 = 0xf0;
/// Look at what you have to do.
pub const KICK: u8 = 0xfa;
/// Flush your TLB.
pub const FLUSH: u8 = 0xfb;
/// The local timer.
pub const TIMER: u8 = 0xfc;
/// The local APIC found an error.
pub const ERROR: u8 = 0xfe;
/// The local APIC took a request back.
pub const SPURIOUS: u8 = 0xff;
