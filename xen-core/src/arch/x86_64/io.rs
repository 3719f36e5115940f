//! Port I/O.
//!
//! Safe to call: whoever reaches a device that can write to memory decides that elsewhere. The
//! core itself uses the serial port, the legacy interrupt controllers, the PIT, the CMOS clock and
//! the power switch; for a privileged domain it relays what that domain's permissions allow.

use x86_64::instructions::port::{Port, PortReadOnly};

/// Reads a byte.
pub fn inb(port: u16) -> u8 {
    // SAFETY: reading a port changes no memory of the core.
    unsafe { PortReadOnly::new(port).read() }
}

/// Reads a 16-bit word.
pub fn inw(port: u16) -> u16 {
    // SAFETY: as for `inb`.
    unsafe { PortReadOnly::new(port).read() }
}

/// Reads a 32-bit word.
pub fn inl(port: u16) -> u32 {
    // SAFETY: as for `inb`.
    unsafe { PortReadOnly::new(port).read() }
}

/// Writes a byte.
pub fn outb(port: u16, value: u8) {
    // SAFETY: see the module: callers drive the core's own devices or relay a privileged domain.
    unsafe { Port::new(port).write(value) }
}

/// Writes a 16-bit word.
pub fn outw(port: u16, value: u16) {
    // SAFETY: as for `outb`.
    unsafe { Port::new(port).write(value) }
}

/// Writes a 32-bit word.
pub fn outl(port: u16, value: u32) {
    // SAFETY: as for `outb`.
    unsafe { Port::new(port).write(value) }
}
