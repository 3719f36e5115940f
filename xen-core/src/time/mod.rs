//! Time: one system time for core and guests, in nanoseconds since the host started.

pub mod calendar;
pub mod calibration;
pub mod pvclock;
pub mod scale;
pub mod wallclock;

use crate::arch;
use crate::domain::Domain;

/// Tells a new domain the time: the record of each vCPU, and the wall clock.
pub fn publish(domain: &Domain) {
    domain.vcpus().iter().for_each(pvclock::publish);
    wallclock::publish(domain);
}

/// Nanoseconds since the host started; never goes back.
pub fn now() -> u64 {
    arch::clock::now()
}

/// The frequency of the time-stamp counter, in thousands.
pub fn tsc_khz() -> u32 {
    u32::try_from(arch::clock::tsc_hz() / 1_000).unwrap_or(u32::MAX)
}
