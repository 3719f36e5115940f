//! Timers: each CPU's queue of deadlines, and the few timers that each vCPU has.
//!
//! A vCPU stands at most once in a queue, no later than under the earliest of its deadlines
//! ([`VcpuTimers`]); its timers so follow it from CPU to CPU at the cost of one entry. A timer fires at or after its
//! deadline, exactly once, and never gets lost: what is armed in the past fires at the next look.

use alloc::collections::BTreeMap;

/// A deadline's place in a queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Alarm {
    deadline_ns: u64,
    serial: u64,
}

impl Alarm {
    /// When it is due.
    pub const fn deadline_ns(self) -> u64 {
        self.deadline_ns
    }
}

/// Deadlines in order.
#[derive(Debug)]
pub struct TimerQueue<T> {
    armed: BTreeMap<Alarm, T>,
    serials: u64,
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> TimerQueue<T> {
    /// Nothing armed.
    pub const fn new() -> Self {
        Self {
            armed: BTreeMap::new(),
            serials: 0,
        }
    }

    /// Arms one.
    pub fn arm(&mut self, deadline_ns: u64, item: T) -> Alarm {
        let alarm = Alarm {
            deadline_ns,
            serial: self.serials,
        };
        self.serials += 1;
        self.armed.insert(alarm, item);
        alarm
    }

    /// Disarms one; `None` when it has fired already.
    pub fn disarm(&mut self, alarm: Alarm) -> Option<T> {
        self.armed.remove(&alarm)
    }

    /// Gives back the memory that an empty queue keeps for what comes next.
    pub fn trim(&mut self) {
        if self.armed.is_empty() {
            self.armed = BTreeMap::new();
        }
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<u64> {
        self.armed.keys().next().map(|alarm| alarm.deadline_ns)
    }

    /// Takes out one that is due.
    pub fn pop_due(&mut self, now: u64) -> Option<(Alarm, T)> {
        if self.next_deadline()? > now {
            return None;
        }
        self.armed.pop_first()
    }
}

/// How many watchdogs a domain has.
pub const WATCHDOGS: usize = 2;

/// The timers of one vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VcpuTimers {
    /// `set_singleshot_timer` and `set_timer_op`.
    pub singleshot_ns: Option<u64>,
    /// `set_periodic_timer`.
    pub periodic: Option<Periodic>,
    /// The end of a `poll` with a timeout.
    pub poll_ns: Option<u64>,
    /// The domain's watchdogs; only its first vCPU has them.
    pub watchdogs_ns: [Option<u64>; WATCHDOGS],
}

/// A timer that comes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Periodic {
    /// Its period, never 0.
    pub period_ns: u64,
    /// When it is due next.
    pub next_ns: u64,
}

/// What [`VcpuTimers::expire`] found due.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[must_use = "a timer that fired is gone: its effect must follow"]
pub struct Fired {
    /// `VIRQ_TIMER` is due.
    pub timer: bool,
    /// The poll's time is over.
    pub poll: bool,
    /// The domain has not patted its watchdog.
    pub watchdog: bool,
}

impl VcpuTimers {
    /// None set.
    pub const NONE: Self = Self {
        singleshot_ns: None,
        periodic: None,
        poll_ns: None,
        watchdogs_ns: [None; WATCHDOGS],
    };

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<u64> {
        let [first_dog, second_dog] = self.watchdogs_ns;
        let wishes = [
            self.singleshot_ns,
            self.periodic.map(|periodic| periodic.next_ns),
            self.poll_ns,
            first_dog,
            second_dog,
        ];
        wishes.into_iter().flatten().min()
    }

    /// Takes out everything that is due. Missed periods are made up for by one firing.
    pub fn expire(&mut self, now: u64) -> Fired {
        Fired {
            timer: take_due(&mut self.singleshot_ns, now) | self.expire_periodic(now),
            poll: take_due(&mut self.poll_ns, now),
            watchdog: self
                .watchdogs_ns
                .iter_mut()
                .fold(false, |fired, dog| fired | take_due(dog, now)),
        }
    }

    fn expire_periodic(&mut self, now: u64) -> bool {
        let Some(periodic) = self.periodic.as_mut().filter(|p| p.next_ns <= now) else {
            return false;
        };
        let missed = (now - periodic.next_ns) / periodic.period_ns.max(1);
        let step = (missed + 1).saturating_mul(periodic.period_ns);
        periodic.next_ns = periodic.next_ns.saturating_add(step);
        true
    }
}

fn take_due(deadline: &mut Option<u64>, now: u64) -> bool {
    deadline.take_if(|due| *due <= now).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Fired, Periodic, TimerQueue, VcpuTimers};

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_look() {
        let mut timers = VcpuTimers {
            singleshot_ns: Some(0),
            ..VcpuTimers::NONE
        };
        assert!(timers.expire(1).timer);
        assert_eq!(timers.expire(2), Fired::default());
    }

    #[test]
    fn a_deadline_at_the_end_of_time_is_just_late() {
        let mut timers = VcpuTimers {
            singleshot_ns: Some(u64::MAX),
            ..VcpuTimers::NONE
        };
        assert_eq!(timers.expire(1 << 63), Fired::default());
        assert_eq!(timers.next_deadline(), Some(u64::MAX));
    }

    #[test]
    fn missed_periods_are_made_up_for_once_and_the_beat_is_kept() {
        let mut timers = VcpuTimers {
            periodic: Some(Periodic {
                period_ns: 10,
                next_ns: 10,
            }),
            ..VcpuTimers::NONE
        };
        assert!(timers.expire(57).timer);
        assert!(!timers.expire(59).timer);
        assert_eq!(timers.next_deadline(), Some(60));
    }

    #[test]
    fn each_timer_fires_for_its_own_purpose() {
        let mut timers = VcpuTimers {
            poll_ns: Some(5),
            watchdogs_ns: [None, Some(7)],
            ..VcpuTimers::NONE
        };
        assert_eq!(timers.next_deadline(), Some(5));
        let fired = timers.expire(5);
        assert!(fired.poll && !fired.timer && !fired.watchdog);
        assert!(timers.expire(7).watchdog);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arm(u64),
        Disarm(usize),
        Look(u64),
    }

    fn any_op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0u64..1_000).prop_map(Op::Arm),
            any::<usize>().prop_map(Op::Disarm),
            (0u64..100).prop_map(Op::Look),
        ]
    }

    proptest! {
        #[test]
        fn the_queue_behaves_as_a_plain_list(ops in proptest::collection::vec(any_op(), 0..200)) {
            let mut queue = TimerQueue::new();
            let mut model = Vec::new();
            let mut now = 0;
            for (id, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Arm(later) => model.push((queue.arm(now + later, id), id)),
                    Op::Disarm(pick) if !model.is_empty() => {
                        let (alarm, id) = model.remove(pick % model.len());
                        prop_assert_eq!(queue.disarm(alarm), Some(id));
                        prop_assert_eq!(queue.disarm(alarm), None);
                    }
                    Op::Disarm(_) => {}
                    Op::Look(later) => {
                        now += later;
                        let mut fired: Vec<_> = core::iter::from_fn(|| queue.pop_due(now)).collect();
                        let mut due: Vec<_> =
                            model.extract_if(.., |(alarm, _)| alarm.deadline_ns() <= now).collect();
                        due.sort_unstable();
                        fired.sort_unstable();
                        prop_assert_eq!(fired, due);
                    }
                }
                let earliest = model.iter().map(|(alarm, _)| alarm.deadline_ns()).min();
                prop_assert_eq!(queue.next_deadline(), earliest);
            }
        }
    }
}
