//! Which CPU a waking vCPU waits for.
//!
//! A CPU that is idle now beats one that is warm: first the vCPU's last CPU if it is idle, then
//! any idle one, then the last one again, then the one with the shortest queue.

use crate::cpu::{CpuId, CpuMask};

/// Chooses among `online` CPUs for a vCPU that last ran on `last`.
///
/// A vCPU whose affinity names no online CPU runs anywhere rather than never.
pub fn choose(
    last: CpuId,
    affinity: CpuMask,
    online: CpuMask,
    idle: CpuMask,
    queue_len: impl Fn(CpuId) -> usize,
) -> CpuId {
    let allowed = match affinity.and(online) {
        CpuMask::EMPTY => online,
        some => some,
    };
    let idle = idle.and(allowed);
    if idle.contains(last) {
        return last;
    }
    if let Some(cpu) = idle.iter().next() {
        return cpu;
    }
    if allowed.contains(last) {
        return last;
    }
    allowed
        .iter()
        .min_by_key(|cpu| queue_len(*cpu))
        .unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::cpu::{CpuId, CpuMask};

    fn cpu(number: usize) -> CpuId {
        CpuId::try_new(number).unwrap()
    }

    fn chosen(last: usize, affinity: u64, idle: u64) -> usize {
        let (affinity, idle) = (CpuMask::from_bits(affinity), CpuMask::from_bits(idle));
        let online = CpuMask::from_bits(0b1111);
        choose(cpu(last), affinity, online, idle, |cpu| 9 - cpu.index()).index()
    }

    #[test]
    fn an_idle_cpu_is_taken_the_last_one_by_preference() {
        assert_eq!(chosen(2, u64::MAX, 0b0110), 2);
        assert_eq!(chosen(3, u64::MAX, 0b0110), 1);
    }

    #[test]
    fn without_an_idle_cpu_the_last_one_is_kept() {
        assert_eq!(chosen(2, u64::MAX, 0), 2);
    }

    #[test]
    fn affinity_is_hard() {
        assert_eq!(chosen(2, 0b0001, 0b1110), 0);
        assert_eq!(chosen(2, 0b0011, 0), 1);
    }

    #[test]
    fn affinity_to_absent_cpus_does_not_starve() {
        assert_eq!(chosen(2, 1 << 40, 0), 2);
    }
}
