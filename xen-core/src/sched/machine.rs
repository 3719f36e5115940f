//! What scheduling asks of the machine, in one place.

use crate::arch;
use crate::domain::VcpuRef;

pub(super) use crate::arch::percpu::{online, this_cpu};

/// Makes another CPU enter the core.
pub(super) use crate::arch::apic::kick as interrupt;

/// Has this CPU interrupted at a system time (at once if it has passed), or not at all.
pub(super) use crate::arch::timer::arm as arm_timer;

/// Sleeps until an interrupt has been served. Interrupts are off before and after.
pub(super) use crate::arch::wait_for_interrupt as halt;

/// Saves `prev`'s registers and loads `next`'s.
pub(super) fn switch(prev: Option<&VcpuRef>, next: Option<&VcpuRef>) {
    arch::context::switch(prev, next);
}

/// Waits a moment for another CPU, serving its requests meanwhile.
pub(super) fn relax() {
    arch::poll();
    core::hint::spin_loop();
}
