//! Time: the clock all domains share, the wall clock, the counter of cycles, the one-shot timer.

use core::time::Duration;

use guest_abi::{
    Errno, Port, VcpuId, Virq,
    vcpu::{SetSingleshotTimer, VcpuOp, VcpuTimeInfo},
};

use crate::{
    arch::{hypercall, shared},
    events,
};

/// Nanoseconds since the host started.
#[must_use]
pub fn now(vcpu: VcpuId) -> u64 {
    let (record, cycles) = shared::time_record(vcpu);
    system_time(&record, cycles)
}

/// Time since 1970, as the host's clock tells it.
#[must_use]
pub fn wall_clock(vcpu: VcpuId) -> Duration {
    let (seconds, nanoseconds) = shared::wall_clock();
    Duration::new(seconds, 0)
        + Duration::from_nanos(u64::from(nanoseconds))
        + Duration::from_nanos(now(vcpu))
}

/// Raises the timer interrupt of `vcpu` once, at `deadline` in system time.
///
/// # Errors
///
/// The hypervisor's refusal.
pub fn set_timer(vcpu: VcpuId, deadline: u64) -> Result<(), Errno> {
    let mut arg = SetSingleshotTimer {
        timeout_abs_ns: deadline,
        ..SetSingleshotTimer::default()
    };
    hypercall::vcpu_op(VcpuOp::SetSingleshotTimer, vcpu, &mut arg).map(drop)
}

/// Takes back what [`set_timer`] asked for.
///
/// # Errors
///
/// The hypervisor's refusal.
pub fn stop_timer(vcpu: VcpuId) -> Result<(), Errno> {
    hypercall::vcpu_op_bare(VcpuOp::StopSingleshotTimer, vcpu).map(drop)
}

/// The time-stamp counter of this CPU.
#[must_use]
pub fn cycles() -> u64 {
    shared::cycles()
}

/// vCPU 0's timer, by which a kernel sleeps no longer than it wants.
#[derive(Debug)]
pub struct Alarm(Port);

impl Alarm {
    /// Binds the timer. There can be one alarm.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn new() -> Result<Self, Errno> {
        events::bind_virq(Virq::Timer, VcpuId::new(0)).map(Self)
    }

    /// Sleeps until any event comes, or until `deadline` in system time. Returns at once if it
    /// has passed.
    pub fn wait_until(&self, deadline: u64) {
        let vcpu = VcpuId::new(0);
        if deadline > now(vcpu) && set_timer(vcpu, deadline).is_ok() {
            events::wait(vcpu);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // Our own port: closing it cannot fail.
        let _ = events::close(self.0);
    }
}

/// The system time when the counter shows `cycles`.
fn system_time(record: &VcpuTimeInfo, cycles: u64) -> u64 {
    let ticks = cycles.wrapping_sub(record.tsc_timestamp);
    let ticks = match record.tsc_shift {
        shift @ 0.. => ticks.wrapping_shl(u32::from(shift.unsigned_abs())),
        shift => ticks.wrapping_shr(u32::from(shift.unsigned_abs())),
    };
    let nanoseconds = (u128::from(ticks) * u128::from(record.tsc_to_system_mul)) >> 32;
    record
        .system_time
        .wrapping_add(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(mul: u32, shift: i8) -> VcpuTimeInfo {
        VcpuTimeInfo {
            tsc_timestamp: 1_000,
            system_time: 5_000_000,
            tsc_to_system_mul: mul,
            tsc_shift: shift,
            ..VcpuTimeInfo::default()
        }
    }

    #[test]
    fn a_counter_of_one_gigahertz_counts_nanoseconds() {
        assert_eq!(system_time(&record(1 << 31, 1), 1_000), 5_000_000);
        assert_eq!(system_time(&record(1 << 31, 1), 4_000), 5_003_000);
    }

    #[test]
    fn a_negative_shift_divides() {
        // 4 GHz: a quarter of a nanosecond a tick.
        assert_eq!(system_time(&record(1 << 31, -1), 5_000), 5_001_000);
    }

    #[test]
    fn years_of_ticks_do_not_overflow() {
        let year = 365 * 24 * 3600 * 3_000_000_000_u64;
        assert!(
            system_time(&record(0x5555_5555, 0), 1_000 + year) > 300 * 24 * 3600 * 1_000_000_000
        );
    }
}
