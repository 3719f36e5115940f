//! One CPU's run queue: the vCPUs that wait for it, and the virtual clock by which they wait.
//!
//! The queue knows its runner only as a [`Share`] and a starting time, which is all it needs to
//! tell how late its virtual clock is. It is generic over what it queues: vCPUs in the core,
//! numbers in the tests.
//!
//! Virtual clocks of different queues are not comparable: one that idled stood still. What is
//! compared is *progress*, the clock plus a correction that grows whenever a queue was left behind
//! for reasons other than contention. A queue whose progress lags has given its vCPUs less than
//! others got; it sends one of them where more is to be had.

use alloc::collections::BTreeMap;

use super::fair::{BALANCE_NS, MIN_TURN_NS, SLICE_NS, Share, VirtualTime};
use crate::cpu::{CpuId, CpuMask};

/// Where something lies in a queue: by virtual time, then by arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket {
    vtime: VirtualTime,
    arrival: u64,
}

/// One that waits.
#[derive(Clone, Debug)]
pub struct Waiting<T> {
    /// Who.
    pub item: T,
    /// Its share, when it was queued; it does not change while it waits.
    pub share: Share,
    /// The CPUs that it may run on.
    pub affinity: CpuMask,
}

/// The one that runs.
#[derive(Clone, Copy, Debug)]
struct Runner {
    share: Share,
    since_ns: u64,
}

impl Runner {
    fn vtime(self, now: u64) -> VirtualTime {
        self.share.charge(now.saturating_sub(self.since_ns)).vtime()
    }
}

/// The vCPUs that wait for one CPU.
#[derive(Debug)]
pub struct RunQueue<T> {
    /// The one furthest behind. Most often it is the only one, and then costs no tree.
    first: Option<(Ticket, Waiting<T>)>,
    /// All others.
    others: BTreeMap<Ticket, Waiting<T>>,
    runner: Option<Runner>,
    clock: VirtualTime,
    /// Progress minus clock.
    correction: u64,
    arrivals: u64,
}

/// Where a queue's virtual clock stands, for those who come from there or look at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The virtual clock.
    pub clock: VirtualTime,
    /// The clock, corrected for comparison with other queues.
    pub progress: VirtualTime,
}

impl<T> Default for RunQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> RunQueue<T> {
    /// Nobody waits, nobody runs.
    pub const fn new() -> Self {
        Self {
            first: None,
            others: BTreeMap::new(),
            runner: None,
            clock: VirtualTime::ZERO,
            correction: 0,
            arrivals: 0,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Gives back the memory that an empty queue keeps for what comes next.
    pub fn trim(&mut self) {
        if self.others.is_empty() {
            self.others = BTreeMap::new();
        }
    }

    /// Whether nobody runs.
    pub const fn is_idle(&self) -> bool {
        self.runner.is_none()
    }

    /// Where the one furthest behind of those who wait stands.
    pub fn first_vtime(&self) -> Option<VirtualTime> {
        self.first.as_ref().map(|(ticket, _)| ticket.vtime)
    }

    /// The virtual clock: the virtual time of the one furthest behind among all that wait or run.
    /// It stands still while the CPU is idle, and never goes back.
    pub fn clock(&self, now: u64) -> VirtualTime {
        let first = self.first_vtime();
        let running = self.runner.map(|runner| runner.vtime(now));
        let behind = match (first, running) {
            (Some(a), Some(b)) => a.min(b),
            (one, other) => one.or(other).unwrap_or(self.clock),
        };
        behind.max(self.clock)
    }

    /// The clock, and the progress that it stands for.
    pub fn reading(&self, now: u64) -> Reading {
        let clock = self.clock(now);
        Reading {
            clock,
            progress: clock.plus(self.correction),
        }
    }

    /// Brings the progress up to `progress` if it is less: the queue is not behind because its
    /// vCPUs went short.
    pub fn catch_up(&mut self, progress: VirtualTime, now: u64) {
        let missing = progress.ahead_of(self.reading(now).progress);
        self.correction = self.correction.saturating_add(missing);
    }

    /// Records who runs from `now` on: `None` is the idle loop.
    pub fn set_runner(&mut self, share: Option<Share>, now: u64) {
        self.clock = self.clock(now);
        self.runner = share.map(|share| Runner {
            share,
            since_ns: now,
        });
    }

    /// Lets one wait.
    pub fn insert(&mut self, waiting: Waiting<T>, now: u64) -> Ticket {
        self.clock = self.clock(now);
        let ticket = Ticket {
            vtime: waiting.share.vtime(),
            arrival: self.arrivals,
        };
        self.arrivals += 1;
        let later = match &self.first {
            Some((first, _)) if *first < ticket => Some((ticket, waiting)),
            _ => self.first.replace((ticket, waiting)),
        };
        self.others.extend(later);
        ticket
    }

    /// Takes out the one that holds `ticket`; `None` when somebody else was faster.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Waiting<T>> {
        match &self.first {
            Some((first, _)) if *first == ticket => self.take_first().map(|(_, waiting)| waiting),
            _ => self.others.remove(&ticket),
        }
    }

    fn take_first(&mut self) -> Option<(Ticket, Waiting<T>)> {
        let first = self.first.take();
        if !self.others.is_empty() {
            self.first = self.others.pop_first();
        }
        first
    }

    /// Takes out the one furthest behind.
    pub fn pop(&mut self, now: u64) -> Option<(Ticket, Waiting<T>)> {
        self.clock = self.clock(now);
        self.take_first()
    }

    /// Takes out the one furthest behind that may run on `cpu`, for another CPU's use.
    pub fn steal(&mut self, cpu: CpuId, now: u64) -> Option<(Ticket, Waiting<T>)> {
        self.clock = self.clock(now);
        let waiting = self.first.iter().map(|(ticket, waiting)| (ticket, waiting));
        let ticket = *waiting
            .chain(&self.others)
            .find(|(_, waiting)| waiting.affinity.contains(cpu))?
            .0;
        Some((ticket, self.remove(ticket)?))
    }

    /// When the runner, whose turn began at `since`, is to make room for the first in the queue, as
    /// far as can be told now: soon if that one is behind by more than a margin, else at the end of
    /// its slice. Nobody running makes room at once, and nobody waiting asks for none.
    pub fn turn_end(&self, since: u64, now: u64) -> Option<u64> {
        let (_, first) = self.first.as_ref()?;
        let Some(runner) = self.runner else {
            return Some(0);
        };
        let ran = now.saturating_sub(runner.since_ns);
        let preempts = first.share.preempts(runner.share.charge(ran));
        let turn = if preempts { MIN_TURN_NS } else { SLICE_NS };
        Some(since.saturating_add(turn))
    }

    /// Whether the first in the queue runs rather than `share`, whose turn began at `since`: after
    /// the least turn if it is behind by more than a margin, at the slice's end if it is behind at
    /// all.
    pub fn first_overtakes(&self, share: Share, since: u64, now: u64) -> bool {
        let ran = now.saturating_sub(since);
        self.first.as_ref().is_some_and(|(_, first)| {
            ran >= MIN_TURN_NS && first.share.preempts(share)
                || ran >= SLICE_NS && first.share.vtime() <= share.vtime()
        })
    }

    /// How far this queue's vCPUs have been left behind those of a queue read as `other`, if it is
    /// far enough that one of them should move there. The gap returned is bounded, and what is
    /// beyond the bound is forgiven: affinity can hold vCPUs in a lagging queue for hours.
    pub fn lag_behind(&mut self, other: Reading, now: u64) -> Option<u64> {
        let gap = other.progress.ahead_of(self.reading(now).progress);
        if gap <= BALANCE_NS || self.is_empty() {
            return None;
        }
        self.catch_up(other.progress.minus(2 * BALANCE_NS), now);
        Some(gap.min(2 * BALANCE_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fair::{MIN_TURN_NS, SLICE_NS, Share, Weight};
    use super::{RunQueue, Waiting};
    use crate::cpu::{CpuId, CpuMask};

    fn waiting(item: u32, share: Share) -> Waiting<u32> {
        Waiting {
            item,
            share,
            affinity: CpuMask::ALL,
        }
    }

    fn fresh() -> Share {
        Share::new(Weight::DEFAULT)
    }

    #[test]
    fn the_one_furthest_behind_runs_first_and_equals_by_arrival() {
        let mut queue = RunQueue::new();
        queue.insert(waiting(1, fresh().charge(10)), 0);
        queue.insert(waiting(2, fresh()), 0);
        queue.insert(waiting(3, fresh()), 0);
        let order: Vec<_> = core::iter::from_fn(|| queue.pop(0))
            .map(|(_, w)| w.item)
            .collect();
        assert_eq!(order, [2, 3, 1]);
    }

    #[test]
    fn a_ticket_is_good_once() {
        let mut queue = RunQueue::new();
        let ticket = queue.insert(waiting(1, fresh()), 0);
        assert!(queue.remove(ticket).is_some());
        assert!(queue.remove(ticket).is_none());
    }

    #[test]
    fn the_clock_follows_a_lone_runner_and_stands_in_idleness() {
        let mut queue = RunQueue::<u32>::new();
        queue.set_runner(Some(fresh()), 100);
        let later = queue.clock(1_100);
        assert_eq!(later, fresh().charge(1_000).vtime());
        queue.set_runner(None, 1_100);
        assert_eq!(queue.clock(1 << 50), later);
    }

    #[test]
    fn a_thief_takes_only_what_may_run_on_its_cpu() {
        let mut queue = RunQueue::new();
        let (zero, one) = (CpuId::BOOT, CpuId::try_new(1).unwrap());
        let pinned = Waiting {
            affinity: CpuMask::only(zero),
            ..waiting(1, fresh())
        };
        queue.insert(pinned, 0);
        assert!(queue.steal(one, 0).is_none());
        queue.insert(waiting(2, fresh().charge(99)), 0);
        assert_eq!(queue.steal(one, 0).unwrap().1.item, 2);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn an_equal_waits_for_the_slice_to_end() {
        let mut queue = RunQueue::new();
        queue.insert(waiting(1, fresh()), 0);
        let runner = fresh().charge(1_000);
        assert!(!queue.first_overtakes(runner, 0, 1_000));
        assert!(queue.first_overtakes(fresh().charge(SLICE_NS), 0, SLICE_NS));
    }

    #[test]
    fn one_far_behind_waits_for_the_least_turn_and_no_longer() {
        let mut queue = RunQueue::new();
        let runner = fresh().charge(SLICE_NS);
        queue.set_runner(Some(runner), 0);
        assert_eq!(queue.turn_end(0, 0), None);
        queue.insert(waiting(1, fresh()), 0);
        assert_eq!(queue.turn_end(0, 1_000), Some(MIN_TURN_NS));
        assert!(!queue.first_overtakes(runner, 0, MIN_TURN_NS - 1));
        assert!(queue.first_overtakes(runner, 0, MIN_TURN_NS));
    }

    #[test]
    fn a_turn_ends_with_its_slice_or_at_once_if_nobody_runs() {
        let mut queue = RunQueue::new();
        queue.insert(waiting(1, fresh()), 0);
        assert!(queue.turn_end(700, 800).is_some_and(|end| end <= 800));
        queue.set_runner(Some(fresh()), 800);
        assert_eq!(queue.turn_end(700, 800), Some(700 + SLICE_NS));
    }

    #[test]
    fn a_runner_that_is_still_behind_keeps_the_cpu_after_its_slice() {
        let mut queue = RunQueue::new();
        queue.insert(waiting(1, fresh().charge(3 * SLICE_NS)), 0);
        assert!(!queue.first_overtakes(fresh().charge(SLICE_NS), 0, SLICE_NS));
    }
}
