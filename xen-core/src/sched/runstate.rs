//! Run states: what a vCPU is doing, since when, and how long it did each.
//!
//! The four times always sum to the time since creation: every change charges the state that it
//! ends, and nothing else adds time.

use guest_abi::vcpu::{Runstate as State, RunstateInfo};
use zerocopy::FromZeros as _;

/// A vCPU's run state and its history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Runstate {
    state: State,
    since_ns: u64,
    times_ns: [u64; 4],
}

impl Runstate {
    /// A vCPU created at `now`: it is down.
    pub const fn new(now: u64) -> Self {
        Self {
            state: State::Offline,
            since_ns: now,
            times_ns: [0; 4],
        }
    }

    /// What it is doing.
    pub const fn state(self) -> State {
        self.state
    }

    /// Since when, in system time.
    pub const fn since_ns(self) -> u64 {
        self.since_ns
    }

    /// How long it spent in each state up to [`Self::since_ns`], by the states' numbers.
    pub const fn times_ns(self) -> [u64; 4] {
        self.times_ns
    }

    /// How long it has been on a CPU up to `now`.
    pub fn running_ns(self, now: u64) -> u64 {
        self.change(self.state, now).times_ns[State::Running as usize]
    }

    /// The record that a guest reads.
    pub fn info(self) -> RunstateInfo {
        RunstateInfo {
            state: self.state as u32,
            state_entry_time: self.since_ns,
            time: self.times_ns,
            ..RunstateInfo::new_zeroed()
        }
    }

    /// The state from `now` on; the time up to now goes to the old one. A clock that seems to go
    /// back counts as standing still.
    #[must_use]
    pub fn change(self, state: State, now: u64) -> Self {
        let now = now.max(self.since_ns);
        let mut times_ns = self.times_ns;
        times_ns[self.state as usize] += now - self.since_ns;
        Self {
            state,
            since_ns: now,
            times_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use guest_abi::vcpu::Runstate as State;

    use super::Runstate;

    fn any_state() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Running),
            Just(State::Runnable),
            Just(State::Blocked),
            Just(State::Offline),
        ]
    }

    #[test]
    fn running_time_includes_the_current_stretch() {
        let running = Runstate::new(0).change(State::Running, 10);
        assert_eq!(running.running_ns(25), 15);
        assert_eq!(running.change(State::Blocked, 25).running_ns(99), 15);
    }

    proptest! {
        #[test]
        fn the_times_sum_to_the_time_that_passed(
            start in 0u64..1 << 40,
            steps in proptest::collection::vec((any_state(), 0u64..1 << 30), 0..100),
        ) {
            let mut now = start;
            let mut runstate = Runstate::new(start);
            let mut model = [0u64; 4];
            for (state, later) in steps {
                now += later;
                model[runstate.state() as usize] += later;
                runstate = runstate.change(state, now);
                prop_assert_eq!(runstate.times_ns(), model);
                prop_assert_eq!(runstate.times_ns().iter().sum::<u64>(), now - start);
            }
        }
    }
}
