//! Weighted fairness: how run time turns into virtual time.
//!
//! Every vCPU carries a [`VirtualTime`], which advances while it runs, the slower the greater its
//! weight; whoever is furthest behind runs next. The rules that keep this honest:
//!
//! - run time is charged exactly, to the nanosecond and with the remainder carried, at every
//!   switch. No tick samples anything, so nothing is gained by yielding just before one;
//! - virtual time never goes back. A sleeper that wakes is placed at most [`WAKE_BONUS_NS`] behind
//!   the queue: enough to run soon, too little to save up credit;
//! - a waker preempts only when it is behind by more than [`PREEMPT_MARGIN_NS`], and not before the
//!   runner has had [`MIN_TURN_NS`]: that bounds how often vCPUs that wake each other can switch,
//!   and lets a sender hand over several packets at a time where it would be interrupted for each.

use core::num::NonZeroU16;

/// How long a vCPU runs while others wait, before the queue is looked at again.
pub const SLICE_NS: u64 = 5_000_000;

/// How long a vCPU runs, unless it gives up its turn, before anybody who wakes takes its place.
pub const MIN_TURN_NS: u64 = 200_000;

/// How far behind the queue a waking vCPU may be placed, in virtual nanoseconds.
pub const WAKE_BONUS_NS: u64 = 2_000_000;

/// How far behind the running vCPU a waking one must be to take its place, in virtual nanoseconds.
pub const PREEMPT_MARGIN_NS: u64 = 250_000;

/// How far two CPUs' virtual clocks may part before a waiting vCPU is moved to the one ahead.
pub const BALANCE_NS: u64 = 4 * SLICE_NS;

/// A vCPU's share relative to others: twice the weight is twice the time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Weight(NonZeroU16);

impl Weight {
    /// What everybody starts with: 256.
    pub const DEFAULT: Self = match NonZeroU16::new(256) {
        Some(weight) => Self(weight),
        None => unreachable!(),
    };

    /// A weight from 1 to 65535.
    pub fn try_new(weight: u16) -> Option<Self> {
        NonZeroU16::new(weight).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// Run time divided by weight: nanoseconds of a vCPU of the default weight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct VirtualTime(u64);

impl VirtualTime {
    /// Where every queue starts.
    pub const ZERO: Self = Self(0);

    /// The moment `ns` virtual nanoseconds later.
    #[must_use]
    pub const fn plus(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// The moment `ns` virtual nanoseconds earlier, or the start.
    #[must_use]
    pub const fn minus(self, ns: u64) -> Self {
        Self(self.0.saturating_sub(ns))
    }

    /// How far this moment is past `earlier`; nothing when it is not.
    pub const fn ahead_of(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What fairness knows of one vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    weight: Weight,
    vtime: VirtualTime,
    /// What the last division left over, so that many short runs cost what one long run does.
    remainder: u16,
}

impl Share {
    /// A newcomer.
    pub const fn new(weight: Weight) -> Self {
        Self {
            weight,
            vtime: VirtualTime::ZERO,
            remainder: 0,
        }
    }

    /// Its weight.
    pub const fn weight(self) -> Weight {
        self.weight
    }

    /// Its virtual time.
    pub const fn vtime(self) -> VirtualTime {
        self.vtime
    }

    /// The same vCPU under a new weight; what it has had stays charged.
    #[must_use]
    pub const fn with_weight(self, weight: Weight) -> Self {
        Self {
            weight,
            remainder: 0,
            ..self
        }
    }

    /// Charges `ran_ns` of run time.
    #[must_use]
    pub fn charge(self, ran_ns: u64) -> Self {
        let weight = u64::from(self.weight.get());
        let scaled = ran_ns
            .saturating_mul(u64::from(Weight::DEFAULT.get()))
            .saturating_add(u64::from(self.remainder));
        Self {
            vtime: self.vtime.plus(scaled / weight),
            // Less than the weight, hence it fits.
            remainder: u16::try_from(scaled % weight).unwrap_or(0),
            ..self
        }
    }

    /// Places a vCPU that wakes, or is new, into a queue whose virtual clock stands at `clock`.
    ///
    /// `since` is the clock of the queue that it left: what it was ahead there, it is ahead here.
    #[must_use]
    pub const fn place(self, since: VirtualTime, clock: VirtualTime) -> Self {
        let ahead = self.vtime.ahead_of(since);
        let behind = since.ahead_of(self.vtime);
        let vtime = if behind > WAKE_BONUS_NS {
            clock.minus(WAKE_BONUS_NS)
        } else {
            clock.plus(ahead).minus(behind)
        };
        Self { vtime, ..self }
    }

    /// The share of a vCPU that moves for balance from a queue that lags by `gap`: it arrives as
    /// far behind as it was.
    #[must_use]
    pub const fn moved(self, since: VirtualTime, clock: VirtualTime, gap: u64) -> Self {
        let ahead = self.vtime.ahead_of(since);
        Self {
            vtime: clock.plus(ahead).minus(gap),
            ..self
        }
    }

    /// The share of a vCPU that gives up its turn to one at `first`: not ahead of it in the line,
    /// so that it does not get the turn straight back.
    #[must_use]
    pub fn giving_way_to(self, first: VirtualTime) -> Self {
        Self {
            vtime: self.vtime.max(first),
            ..self
        }
    }

    /// Whether a vCPU that just became runnable takes the place of `running`.
    pub const fn preempts(self, running: Self) -> bool {
        running.vtime.ahead_of(self.vtime) > PREEMPT_MARGIN_NS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Share, VirtualTime, WAKE_BONUS_NS, Weight};

    fn share(weight: u16) -> Share {
        Share::new(Weight::try_new(weight).unwrap())
    }

    #[test]
    fn twice_the_weight_ages_half_as_fast() {
        let heavy = share(512).charge(1_000_000).vtime();
        let light = share(256).charge(1_000_000).vtime();
        assert_eq!(
            light.ahead_of(VirtualTime::ZERO),
            2 * heavy.ahead_of(VirtualTime::ZERO)
        );
    }

    #[test]
    fn a_long_sleep_earns_the_bonus_and_no_more() {
        let clock = VirtualTime::ZERO.plus(1 << 40);
        let woken = share(256).place(clock, clock);
        assert_eq!(woken.vtime(), clock.minus(WAKE_BONUS_NS));
    }

    #[test]
    fn a_debt_follows_its_vcpu_to_another_queue() {
        let debtor = share(256).charge(7_000);
        let clock = VirtualTime::ZERO.plus(1_000_000_000);
        let moved = debtor.place(VirtualTime::ZERO.plus(1_000), clock);
        assert_eq!(moved.vtime(), clock.plus(6_000));
    }

    #[test]
    fn who_gives_way_never_gains_and_does_not_preempt() {
        let first = VirtualTime::ZERO.plus(1 << 30);
        let early = share(256).giving_way_to(first);
        assert!(!early.preempts(share(256).place(first, first)));
        let late = share(256).charge(1 << 31);
        assert_eq!(late.giving_way_to(first), late);
    }

    proptest! {
        #[test]
        fn many_short_runs_cost_what_one_long_run_does(
            weight in 1u16..,
            runs in proptest::collection::vec(0u64..2_000, 1..200),
        ) {
            let piecewise = runs.iter().fold(share(weight), |s, ran| s.charge(*ran));
            prop_assert_eq!(piecewise, share(weight).charge(runs.iter().sum()));
        }

        #[test]
        fn placing_again_at_once_changes_nothing(ran in 0u64..1 << 40, clock in 0u64..1 << 40) {
            let clock = VirtualTime::ZERO.plus(clock);
            let once = share(256).charge(ran).place(clock, clock);
            prop_assert_eq!(once.place(clock, clock), once);
        }
    }
}
