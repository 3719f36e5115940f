//! The time: nanoseconds since the core started, from the time-stamp counter.
//!
//! [`now`] uses the scaling that guests are given for theirs, so both agree to the nanosecond.

use core::sync::atomic::{AtomicI8, AtomicU32, AtomicU64, Ordering};

use super::pit;
use crate::time::scale::TimeScale;

static MUL: AtomicU32 = AtomicU32::new(0);
static SHIFT: AtomicI8 = AtomicI8::new(0);
static TSC_BASE: AtomicU64 = AtomicU64::new(0);
static TSC_HZ: AtomicU64 = AtomicU64::new(0);
static WALL_CLOCK: AtomicU64 = AtomicU64::new(0);

/// The time-stamp counter.
pub fn tsc() -> u64 {
    // SAFETY: the instruction only reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Nanoseconds since the core started; 0 before calibration.
pub fn now() -> u64 {
    scale().nanoseconds(tsc())
}

/// How counter values become nanoseconds.
pub fn scale() -> TimeScale {
    TimeScale {
        mul: MUL.load(Ordering::Relaxed),
        shift: SHIFT.load(Ordering::Relaxed),
        tsc_base: TSC_BASE.load(Ordering::Relaxed),
    }
}

/// The counter's frequency.
pub fn tsc_hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

/// Seconds between 1970 and the moment at which [`now`] was 0.
pub fn wall_clock_base() -> u64 {
    WALL_CLOCK.load(Ordering::Relaxed)
}

/// Measures the counter against the PIT, and reads the date. `tsc_base` is the counter's value at
/// the core's first instruction. `timer` is sampled at both ends, too: returns its frequency.
pub(super) fn calibrate(tsc_base: u64, timer: impl Fn() -> u64) -> u64 {
    let measured = pit::measure(tsc, timer);
    let scale = TimeScale::new(measured.tsc_hz, tsc_base);
    TSC_BASE.store(tsc_base, Ordering::Relaxed);
    SHIFT.store(scale.shift, Ordering::Relaxed);
    MUL.store(scale.mul, Ordering::Relaxed);
    TSC_HZ.store(measured.tsc_hz, Ordering::Relaxed);
    WALL_CLOCK.store(
        super::rtc::seconds() - now() / 1_000_000_000,
        Ordering::Relaxed,
    );
    measured.timer_hz
}
