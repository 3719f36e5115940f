//! Bits of RFLAGS, and which of them a guest may bring along or see.

/// Carry.
pub const CF: u64 = 1 << 0;
/// Parity.
pub const PF: u64 = 1 << 2;
/// Adjust.
pub const AF: u64 = 1 << 4;
/// Zero.
pub const ZF: u64 = 1 << 6;
/// Sign.
pub const SF: u64 = 1 << 7;
/// Trap: single step.
pub const TF: u64 = 1 << 8;
/// Interrupts enabled.
pub const IF: u64 = 1 << 9;
/// Direction.
pub const DF: u64 = 1 << 10;
/// Overflow.
pub const OF: u64 = 1 << 11;
/// I/O privilege level, two bits.
pub const IOPL: u64 = 3 << 12;
/// Nested task.
pub const NT: u64 = 1 << 14;
/// Resume: no instruction breakpoint on the next instruction.
pub const RF: u64 = 1 << 16;
/// Virtual 8086 mode.
pub const VM: u64 = 1 << 17;
/// Alignment check.
pub const AC: u64 = 1 << 18;
/// CPUID exists.
pub const ID: u64 = 1 << 21;

/// The bits that arithmetic sets.
pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
/// The bits that a guest may set in its real RFLAGS.
pub const GUEST_OWNED: u64 = ARITHMETIC | TF | DF | NT | RF | AC | ID;
/// Always set while a guest runs. IF must be: a CPU whose guest cleared it could not be taken back
/// (XSA-202).
pub const FORCED: u64 = IF | 1 << 1;
/// Cleared when a handler starts.
pub const CLEARED_FOR_HANDLER: u64 = TF | RF | NT | VM | AC | IOPL;

/// RFLAGS that a guest asked for, made safe.
pub const fn sanitise(rflags: u64) -> u64 {
    rflags & GUEST_OWNED | FORCED
}

/// The I/O privilege level in RFLAGS. Guests have it virtually only: see `trap::io`.
pub const fn io_privilege(rflags: u64) -> u8 {
    (rflags >> 12 & 3) as u8
}

/// RFLAGS as a frame on the guest's stack shows them: IF is virtual.
pub const fn shown(rflags: u64, events_masked: bool) -> u64 {
    let shown = rflags & GUEST_OWNED | 1 << 1;
    if events_masked { shown } else { shown | IF }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_clear_if_nor_raise_its_privilege() {
        let all = sanitise(u64::MAX);
        assert_eq!(all & (IOPL | VM), 0);
        assert_eq!(all >> 22, 0);
        assert_eq!(sanitise(0), FORCED);
    }

    #[test]
    fn the_assembly_uses_the_same_masks() {
        assert_eq!(GUEST_OWNED, 0x25_4dd5);
        assert_eq!(FORCED, 0x202);
    }
}
