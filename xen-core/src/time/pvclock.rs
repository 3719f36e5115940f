//! What a guest is told about its time: the `vcpu_time_info` record.
//!
//! One scale serves from start-up to power-off, and all time-stamp counters of the host agree, so
//! the record of every vCPU says the same and never changes: it is written when there is a new
//! place for it, and never again. The version is even, and goes up by two with each writing, so
//! that a reader that looks twice notices one that falls in between.

use core::sync::atomic::{Ordering, fence};

use guest_abi::vcpu::{TimeFlags, VcpuInfo as Layout, VcpuTimeInfo};

use super::scale::TimeScale;
use crate::arch;
use crate::domain::Vcpu;
use crate::event;

/// The record for every vCPU, complete, in its first version.
pub fn record() -> VcpuTimeInfo {
    record_of(arch::clock::scale())
}

fn record_of(scale: TimeScale) -> VcpuTimeInfo {
    VcpuTimeInfo {
        version: 2,
        tsc_timestamp: scale.tsc_base,
        system_time: 0,
        tsc_to_system_mul: scale.mul,
        tsc_shift: scale.shift,
        flags: TimeFlags::TSC_STABLE.bits(),
        ..VcpuTimeInfo::default()
    }
}

/// Writes the record into the vCPU's `vcpu_info`, wherever that lies now:
///
/// 1. the version becomes odd;
/// 2. the fields are written;
/// 3. the version becomes even, and another than before.
pub fn publish(vcpu: &Vcpu) {
    let Some(info) = event::vcpu_info(vcpu) else {
        return;
    };
    const AT: usize = core::mem::offset_of!(Layout, time);
    let record = record();
    let version = info.half_word(AT);
    let odd = version.load(Ordering::Relaxed) | 1;
    version.store(odd, Ordering::SeqCst);
    fence(Ordering::SeqCst);

    info.word(AT + 8)
        .store(record.tsc_timestamp, Ordering::Relaxed);
    info.word(AT + 16)
        .store(record.system_time, Ordering::Relaxed);
    info.word(AT + 24)
        .store(last_word(&record), Ordering::Relaxed);

    fence(Ordering::SeqCst);
    version.store(odd.wrapping_add(1), Ordering::SeqCst);
}

/// Multiplier, shift and flags as the one word that they fill.
fn last_word(record: &VcpuTimeInfo) -> u64 {
    let [m0, m1, m2, m3] = record.tsc_to_system_mul.to_le_bytes();
    let [shift] = record.tsc_shift.to_le_bytes();
    u64::from_le_bytes([m0, m1, m2, m3, shift, record.flags, 0, 0])
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::{TimeScale, last_word, record_of};

    #[test]
    fn the_record_is_even_and_never_divides_by_zero() {
        let record = record_of(TimeScale::new(2_500_000_000, 77));
        assert_eq!(record.version % 2, 0);
        assert_ne!(record.tsc_to_system_mul, 0);
        assert_eq!(record.tsc_timestamp, 77);
    }

    #[test]
    fn the_last_word_has_the_bytes_of_the_record() {
        let record = record_of(TimeScale::new(2_500_000_000, 77));
        assert_eq!(last_word(&record).to_le_bytes(), record.as_bytes()[24..32]);
    }
}
