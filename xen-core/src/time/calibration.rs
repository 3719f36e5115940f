//! How fast counters are, measured against one whose rate is known.
//!
//! Under a hypervisor, the one that measures may be stopped at any instruction, for longer than
//! the whole measurement takes. So each look at the counters is bracketed by the time-stamp counter
//! and the narrowest of several is used; and a reference that ran out meanwhile starts anew.

/// One look at all counters.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The time-stamp counter before the others were read.
    pub before: u64,
    /// The reference, which counts down.
    pub count: u16,
    /// Another counter.
    pub timer: u64,
    /// The time-stamp counter after the others were read.
    pub after: u64,
}

impl Look {
    const fn width(&self) -> u64 {
        self.after.wrapping_sub(self.before)
    }

    const fn tsc(&self) -> u64 {
        self.before.wrapping_add(self.width() / 2)
    }
}

/// What is measured against.
pub trait Reference {
    /// Its rate.
    const HZ: u64;

    /// Starts it anew, from its highest count.
    fn start(&mut self);
    /// Reads all counters.
    fn look(&mut self) -> Look;
    /// Whether it has run out since its start, so that its count means nothing.
    fn ran_out(&mut self) -> bool;
}

/// Frequencies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    /// The time-stamp counter's.
    pub tsc_hz: u64,
    /// The other counter's.
    pub timer_hz: u64,
}

/// Looks that compete at either end.
const LOOKS: usize = 8;
/// How often the reference may run out before the measurement is taken as it is.
const ATTEMPTS: usize = 20;

/// Measures for `ticks` of the reference.
pub fn measure<R: Reference>(reference: &mut R, ticks: u16) -> Measured {
    let mut attempts = 0;
    loop {
        attempts += 1;
        reference.start();
        let first = best_look(reference);
        while first.count.wrapping_sub(reference.look().count) < ticks {}
        let last = best_look(reference);
        if !reference.ran_out() || attempts == ATTEMPTS {
            return between::<R>(&first, &last);
        }
    }
}

/// The narrowest of a few looks, each right when the count has changed.
fn best_look(reference: &mut impl Reference) -> Look {
    let mut best = look_at_change(reference);
    for _ in 1..LOOKS {
        let look = look_at_change(reference);
        if look.width() < best.width() {
            best = look;
        }
    }
    best
}

fn look_at_change(reference: &mut impl Reference) -> Look {
    let old = reference.look().count;
    loop {
        let look = reference.look();
        if look.count != old {
            return look;
        }
    }
}

fn between<R: Reference>(first: &Look, last: &Look) -> Measured {
    let ticks = first.count.wrapping_sub(last.count).max(1);
    let hz = |from: u64, to: u64| {
        let scaled = u128::from(to.wrapping_sub(from)) * u128::from(R::HZ) / u128::from(ticks);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    };
    Measured {
        tsc_hz: hz(first.tsc(), last.tsc()),
        timer_hz: hz(first.timer, last.timer),
    }
}

#[cfg(test)]
mod tests {
    use super::{Look, Measured, Reference, measure};

    /// 2 GHz of time-stamp counter, 1 GHz of timer, 1 MHz of reference; at one look, the machine
    /// stands still in the middle.
    struct Machine {
        cycles: u64,
        started: u64,
        looks: u64,
        /// At this look …
        stop_at: u64,
        /// … it stands still for so many cycles.
        stop_cycles: u64,
    }

    impl Machine {
        fn new(stop_at: u64, stop_cycles: u64) -> Self {
            Self {
                cycles: 12345,
                started: 0,
                looks: 0,
                stop_at,
                stop_cycles,
            }
        }
    }

    impl Reference for Machine {
        const HZ: u64 = 1_000_000;

        fn start(&mut self) {
            self.started = self.cycles;
        }

        fn look(&mut self) -> Look {
            self.looks += 1;
            let before = self.cycles;
            self.cycles += 500;
            let ticks = (self.cycles - self.started) / 2000;
            let timer = self.cycles / 2;
            if self.looks == self.stop_at {
                self.cycles += self.stop_cycles;
            }
            self.cycles += 500;
            Look {
                before,
                count: u16::try_from(0xffff - ticks % 0x1_0000).unwrap(),
                timer,
                after: self.cycles,
            }
        }

        fn ran_out(&mut self) -> bool {
            (self.cycles - self.started) / 2000 > 0xffff
        }
    }

    fn assert_right(measured: Measured) {
        let Measured { tsc_hz, timer_hz } = measured;
        assert!(tsc_hz.abs_diff(2_000_000_000) < 1_000_000, "{tsc_hz}");
        assert!(timer_hz.abs_diff(1_000_000_000) < 1_000_000, "{timer_hz}");
    }

    #[test]
    fn an_undisturbed_measurement_is_right() {
        assert_right(measure(&mut Machine::new(0, 0), 10_000));
    }

    #[test]
    fn standing_still_between_two_counters_does_not_count() {
        // At the first end and at the last: 12 ms, as long as the measurement.
        for look in (1..60).chain(19_900..20_100) {
            assert_right(measure(&mut Machine::new(look, 24_000_000), 10_000));
        }
    }

    #[test]
    fn a_reference_that_ran_out_is_started_anew() {
        // 400 ms: the reference runs out after 65.
        assert_right(measure(&mut Machine::new(4000, 800_000_000), 10_000));
    }
}
