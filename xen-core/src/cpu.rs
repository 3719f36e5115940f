//! Physical CPUs: their numbers and sets of them.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// The most physical CPUs that one host may have.
pub const MAX_CPUS: usize = 64;

/// A physical CPU's number: 0 is the boot processor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuId(u8);

impl CpuId {
    /// The boot processor.
    pub const BOOT: Self = Self(0);

    /// The CPU with this number, if it is below [`MAX_CPUS`].
    pub fn try_new(number: usize) -> Option<Self> {
        u8::try_from(number)
            .ok()
            .filter(|n| usize::from(*n) < MAX_CPUS)
            .map(Self)
    }

    /// The CPU's number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of physical CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CpuMask(u64);

impl CpuMask {
    /// No CPU.
    pub const EMPTY: Self = Self(0);
    /// Every CPU there could be.
    pub const ALL: Self = Self(u64::MAX);

    /// The set whose bit `n` stands for CPU `n`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Just one CPU.
    pub const fn only(cpu: CpuId) -> Self {
        Self(1 << cpu.0)
    }

    /// Bit `n` stands for CPU `n`.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `cpu` is in the set.
    pub const fn contains(self, cpu: CpuId) -> bool {
        self.0 & (1 << cpu.0) != 0
    }

    /// The set with `cpu` in it.
    #[must_use]
    pub const fn with(self, cpu: CpuId) -> Self {
        Self(self.0 | 1 << cpu.0)
    }

    /// The set without `cpu`.
    #[must_use]
    pub const fn without(self, cpu: CpuId) -> Self {
        Self(self.0 & !(1 << cpu.0))
    }

    /// The CPUs in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The CPUs in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether no CPU is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many CPUs are in the set.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The CPUs in the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = CpuId> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let next = CpuId::try_new(rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(next)
        })
    }
}

/// A set of CPUs that several CPUs change.
#[derive(Debug, Default)]
pub struct AtomicCpuMask(AtomicU64);

impl AtomicCpuMask {
    /// The empty set.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The set as it is now.
    pub fn load(&self) -> CpuMask {
        CpuMask(self.0.load(Ordering::SeqCst))
    }

    /// Puts `cpu` in; says whether it was missing.
    pub fn insert(&self, cpu: CpuId) -> bool {
        self.0.fetch_or(1 << cpu.0, Ordering::SeqCst) & (1 << cpu.0) == 0
    }

    /// Takes `cpu` out; says whether it was in.
    pub fn remove(&self, cpu: CpuId) -> bool {
        self.0.fetch_and(!(1 << cpu.0), Ordering::SeqCst) & (1 << cpu.0) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::{CpuId, CpuMask};

    #[test]
    fn a_mask_lists_its_cpus_in_order() {
        let mask = CpuMask::from_bits(0b1010_0001);
        let numbers: Vec<_> = mask.iter().map(CpuId::index).collect();
        assert_eq!(numbers, [0, 5, 7]);
        assert_eq!(CpuMask::ALL.iter().count(), 64);
        assert_eq!(CpuMask::EMPTY.iter().count(), 0);
    }

    #[test]
    fn a_cpu_number_beyond_the_limit_is_refused() {
        assert!(CpuId::try_new(64).is_none());
        assert!(CpuId::try_new(63).is_some());
    }
}
