//! x87 and SSE state, by FXSAVE.
//!
//! The core executes no FPU instruction of its own, so a guest's state stays in the registers
//! until another vCPU runs. XSAVE is never enabled (CR4.OSXSAVE stays clear, CPUID hides it): what
//! FXSAVE holds is all the state there is.

use core::arch::asm;

use crate::trap::context::FpuArea;

/// Saves the registers. CR0.TS must be clear.
pub(super) fn save(area: &mut FpuArea) {
    // SAFETY: the area is 512 bytes, aligned to 16; the target has no FPU code that could mind.
    unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags)) };
}

/// Loads the registers. CR0.TS must be clear.
pub(super) fn load(area: &FpuArea) {
    static ZERO: u32 = 0;
    // AMD processors leave the last instruction's address and operand as they are unless an
    // exception is pending: loading a zero puts our own there instead of the previous guest's
    // (XSA-52).
    // SAFETY: x87 instructions on a constant; what they leave is loaded over next.
    unsafe {
        asm!("fnclex", "ffree st(7)", "fild dword ptr [{}]", in(reg) &raw const ZERO,
            options(nostack, preserves_flags, readonly));
    }
    // SAFETY: the area is 512 bytes, aligned to 16, and its MXCSR has no reserved bit (every way
    // into a context checks).
    unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags, readonly)) };
}

/// Lets FPU instructions through.
pub(super) fn enable() {
    // SAFETY: only clears CR0.TS.
    unsafe { asm!("clts", options(nomem, nostack, preserves_flags)) };
}

/// Sets or clears CR0.TS: with it, the guest's next FPU instruction faults.
pub(super) fn set_task_switched(set: bool) {
    use x86_64::registers::control::{Cr0, Cr0Flags};
    if !set {
        return enable();
    }
    let flags = Cr0::read() | Cr0Flags::TASK_SWITCHED;
    // SAFETY: TS makes FPU instructions fault; the core has none.
    unsafe { Cr0::write(flags) };
}
