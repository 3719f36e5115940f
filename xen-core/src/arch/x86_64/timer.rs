//! The local one-shot timer.
//!
//! It interrupts at the deadline or, if that is farther away than the counter reaches, earlier:
//! whoever handles the interrupt compares the time and sets the deadline again.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use x86_64::registers::model_specific::Msr;

use super::{apic, clock};

const TSC_DEADLINE: Msr = Msr::new(0x6e0);
const MODE_ONE_SHOT: u32 = 0;
const MODE_TSC_DEADLINE: u32 = 2 << 17;

static USE_DEADLINE: AtomicBool = AtomicBool::new(false);
/// The counting timer's frequency.
static HZ: AtomicU64 = AtomicU64::new(0);

/// Chooses the mode; `hz` is the measured frequency of the counting timer.
pub(super) fn init(hz: u64) {
    HZ.store(hz, Ordering::Relaxed);
    USE_DEADLINE.store(super::cpuid(1, 0).ecx & 1 << 24 != 0, Ordering::Relaxed);
}

/// Enables this CPU's timer.
pub(super) fn init_cpu() {
    let deadline = USE_DEADLINE.load(Ordering::Relaxed);
    apic::enable_timer(if deadline {
        MODE_TSC_DEADLINE
    } else {
        MODE_ONE_SHOT
    });
}

/// Interrupts this CPU when [`clock::now`] reaches `deadline_ns` (at once if it has), replacing
/// any earlier deadline; `None` for never.
pub fn arm(deadline_ns: Option<u64>) {
    if USE_DEADLINE.load(Ordering::Relaxed) {
        set_tsc_deadline(deadline_ns);
    } else {
        apic::start_timer(deadline_ns.map_or(0, ticks_until));
    }
}

fn set_tsc_deadline(deadline_ns: Option<u64>) {
    let scale = clock::scale();
    // 0 disarms, so the earliest deadline is 1.
    let tsc = deadline_ns.map_or(0, |ns| {
        scale.tsc_base.saturating_add(scale.ticks(ns)).max(1)
    });
    let mut msr = TSC_DEADLINE;
    // SAFETY: the CPU has this register (see `init`); it only arms the timer.
    unsafe { msr.write(tsc) };
}

/// Ticks of the counting timer until then: at least one, at most what the counter holds.
fn ticks_until(deadline_ns: u64) -> u32 {
    let delta = u128::from(deadline_ns.saturating_sub(clock::now()));
    let ticks = (delta * u128::from(HZ.load(Ordering::Relaxed))).div_ceil(1_000_000_000);
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

/// The counting timer's ticks so far, for calibration.
pub(super) fn elapsed() -> u64 {
    u64::from(u32::MAX - apic::timer_count())
}
