//! The hardware's debug registers. Values are checked in [`crate::trap::debugreg`].

use core::arch::asm;

use crate::trap::debugreg::{DR6_CLEAR, DR7_CLEAR, DebugRegisters};

/// Loads one register: 0 to 3 are addresses, 4 and 6 the status, 5 and 7 the control.
pub(super) fn load(number: u8, value: u64) {
    match number {
        // SAFETY: a breakpoint at a guest's address cannot hurt the core (see `core_trap`).
        0 => unsafe { asm!("mov dr0, {}", in(reg) value, options(nostack, preserves_flags)) },
        // SAFETY: as above.
        1 => unsafe { asm!("mov dr1, {}", in(reg) value, options(nostack, preserves_flags)) },
        // SAFETY: as above.
        2 => unsafe { asm!("mov dr2, {}", in(reg) value, options(nostack, preserves_flags)) },
        // SAFETY: as above.
        3 => unsafe { asm!("mov dr3, {}", in(reg) value, options(nostack, preserves_flags)) },
        // SAFETY: the status only reports.
        4 | 6 => unsafe { asm!("mov dr6, {}", in(reg) value, options(nostack, preserves_flags)) },
        // SAFETY: checked: neither general detect nor I/O breakpoints.
        _ => unsafe { asm!("mov dr7, {}", in(reg) value, options(nostack, preserves_flags)) },
    }
}

/// Reads the status and clears it.
pub(super) fn take_status() -> u64 {
    let status: u64;
    // SAFETY: only reads.
    unsafe { asm!("mov {}, dr6", out(reg) status, options(nomem, nostack, preserves_flags)) };
    load(6, DR6_CLEAR);
    status
}

/// Replaces one vCPU's registers by another's. Those that arm nothing are left where they are.
pub(super) fn switch(from_armed: bool, to: &DebugRegisters) {
    if to.is_armed() {
        for (number, address) in (0..).zip(to.address) {
            load(number, address);
        }
        load(6, to.dr6);
        load(7, to.dr7);
    } else if from_armed {
        disarm();
    }
}

/// Arms nothing.
pub(super) fn disarm() {
    load(7, DR7_CLEAR);
}
