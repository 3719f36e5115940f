//! Time: one system time for core and guests, in nanoseconds since the host started.

pub mod calendar;
pub mod pvclock;
pub mod scale;
pub mod wallclock;

use crate::arch;

/// Nanoseconds since the host started; never goes back.
pub fn now() -> u64 {
    arch::clock::now()
}

/// The frequency of the time-stamp counter, in thousands.
pub fn tsc_khz() -> u32 {
    u32::try_from(arch::clock::tsc_hz() / 1_000).unwrap_or(u32::MAX)
}
