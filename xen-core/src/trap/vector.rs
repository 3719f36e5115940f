//! Exception vectors, by name.

/// #DE
pub const DIVIDE_ERROR: u8 = 0;
/// #DB
pub const DEBUG: u8 = 1;
/// NMI
pub const NMI: u8 = 2;
/// #BP
pub const BREAKPOINT: u8 = 3;
/// #OF
pub const OVERFLOW: u8 = 4;
/// #UD
pub const INVALID_OPCODE: u8 = 6;
/// #NM
pub const DEVICE_NOT_AVAILABLE: u8 = 7;
/// #DF
pub const DOUBLE_FAULT: u8 = 8;
/// #GP
pub const GENERAL_PROTECTION: u8 = 13;
/// #PF
pub const PAGE_FAULT: u8 = 14;
/// #MC
pub const MACHINE_CHECK: u8 = 18;
/// The first vector that is not an exception.
pub const FIRST_EXTERNAL: u8 = 32;
/// The classic system call of 32-bit programs: its gate is open to ring 3.
pub const LEGACY_SYSCALL: u8 = 0x80;

/// Whether the processor (and so the frame on the guest's stack) carries an error code.
pub const fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}
