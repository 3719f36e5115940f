//! From counter ticks to nanoseconds, the way guests compute it.
//!
//! `ns = ((ticks << shift) * mul) >> 32`, a negative shift being one to the right (the formula of
//! `vcpu_time_info` in Xen's public headers).

/// How a counter's values become nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeScale {
    /// Nanoseconds per (shifted) tick, in units of 2^-32.
    pub mul: u32,
    /// The shift before the multiplication.
    pub shift: i8,
    /// The counter's value at 0 ns.
    pub tsc_base: u64,
}

impl TimeScale {
    /// The most precise scale for a counter of `hz` that showed `tsc_base` at 0 ns.
    ///
    /// The shift is such that the multiplier's top bit is set.
    pub fn new(hz: u64, tsc_base: u64) -> Self {
        let hz = u128::from(hz.max(1));
        // Nanoseconds per tick as a fixed-point number with 64 fractional bits.
        let per_tick = (1_000_000_000_u128 << 64) / hz;
        let top = 127 - i32::try_from(per_tick.leading_zeros()).unwrap_or(0);
        let shift = top - 63;
        let mul = per_tick >> (top - 31).max(0);
        Self {
            mul: u32::try_from(mul & 0xffff_ffff).unwrap_or(u32::MAX),
            shift: i8::try_from(shift).unwrap_or(0),
            tsc_base,
        }
    }

    /// The time at which the counter shows `tsc`.
    pub fn nanoseconds(&self, tsc: u64) -> u64 {
        let ticks = tsc.wrapping_sub(self.tsc_base);
        let shifted = match self.shift {
            left @ 0.. => ticks << left,
            right => ticks >> right.unsigned_abs(),
        };
        let product = u128::from(shifted) * u128::from(self.mul);
        u64::try_from(product >> 32).unwrap_or(u64::MAX)
    }

    /// How many ticks pass in `ns`, rounded up.
    pub fn ticks(&self, ns: u64) -> u64 {
        let shifted = (u128::from(ns) << 32).div_ceil(u128::from(self.mul.max(1)));
        let ticks = match self.shift {
            left @ 0.. => shifted >> left,
            right => shifted << right.unsigned_abs(),
        };
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::TimeScale;

    #[test]
    fn a_second_of_ticks_is_a_second() {
        for hz in [
            1_000_000,
            999_999_999,
            1_000_000_000,
            2_893_201_000,
            5_000_000_000,
        ] {
            let scale = TimeScale::new(hz, 77);
            let ns = scale.nanoseconds(77 + hz);
            assert!(
                (999_999_990..=1_000_000_000).contains(&ns),
                "{hz} Hz: {ns} ns"
            );
            let hour = scale.nanoseconds(77 + 3600 * hz);
            assert!(3_600_000_000_000 - hour < 10_000, "{hz} Hz: {hour} ns");
        }
    }

    #[test]
    fn the_multiplier_uses_all_its_bits() {
        for hz in [1_000_000, 1_000_000_000, 3_000_000_000_u64] {
            assert!(TimeScale::new(hz, 0).mul >= 1 << 31, "{hz}");
        }
    }

    #[test]
    fn ticks_reach_the_time_they_were_made_from() {
        for hz in [62_500_000, 1_000_000_000, 2_893_201_000] {
            let scale = TimeScale::new(hz, 0);
            for ns in [1, 1000, 1_000_000_007] {
                assert!(
                    scale.nanoseconds(scale.ticks(ns) + 1) >= ns,
                    "{hz} Hz, {ns} ns"
                );
            }
        }
    }
}
