//! A whole machine in simulated time: the pure parts together keep the scheduler's promises.
//!
//! The machine here dispatches as `dispatch.rs` and `wake.rs` do, but over numbers, so that a
//! second of scheduling costs a millisecond of test.

use proptest::prelude::*;

use super::fair::{SLICE_NS, Share, VirtualTime, Weight};
use super::placement;
use super::runqueue::{RunQueue, Waiting};
use crate::cpu::{CpuId, CpuMask};

#[derive(Clone, Copy, Debug)]
enum Place {
    Off,
    Queued,
    Running,
}

/// How a task behaves: runs `run_ns`, then yields or sleeps `sleep_ns`, and so on.
#[derive(Clone, Copy, Debug)]
struct Habit {
    run_ns: u64,
    sleep_ns: Option<u64>,
}

const HOG: Habit = Habit {
    run_ns: u64::MAX,
    sleep_ns: None,
};

#[derive(Debug)]
struct Task {
    habit: Habit,
    affinity: CpuMask,
    share: Share,
    place: Place,
    cpu: CpuId,
    wakes_at: u64,
    stretch_left: u64,
    ran: u64,
    longest_wait: u64,
    waits_since: u64,
}

struct Machine {
    queues: Vec<RunQueue<usize>>,
    current: Vec<Option<usize>>,
    slice_start: Vec<u64>,
    tasks: Vec<Task>,
    top: VirtualTime,
    now: u64,
}

impl Machine {
    fn new(cpus: usize) -> Self {
        Self {
            queues: (0..cpus).map(|_| RunQueue::new()).collect(),
            current: vec![None; cpus],
            slice_start: vec![0; cpus],
            tasks: Vec::new(),
            top: VirtualTime::ZERO,
            now: 0,
        }
    }

    fn add(&mut self, weight: u16, habit: Habit, affinity: u64) -> usize {
        self.tasks.push(Task {
            habit,
            affinity: CpuMask::from_bits(affinity),
            share: Share::new(Weight::try_new(weight).unwrap()),
            place: Place::Off,
            cpu: CpuId::BOOT,
            wakes_at: 0,
            stretch_left: habit.run_ns,
            ran: 0,
            longest_wait: 0,
            waits_since: 0,
        });
        self.tasks.len() - 1
    }

    fn cpus(&self) -> CpuMask {
        CpuMask::from_bits((1 << self.queues.len()) - 1)
    }

    fn wake(&mut self, id: usize) {
        let idle = self
            .cpus()
            .iter()
            .filter(|cpu| {
                self.current[cpu.index()].is_none() && self.queues[cpu.index()].is_empty()
            })
            .fold(CpuMask::EMPTY, CpuMask::with);
        let task = &self.tasks[id];
        let target = placement::choose(task.cpu, task.affinity, self.cpus(), idle, |cpu| {
            self.queues[cpu.index()].len()
        });
        let since = self.queues[task.cpu.index()].clock(self.now);
        let clock = self.queues[target.index()].clock(self.now);
        let share = task.share.place(since, clock);
        self.enqueue(id, target, share);
    }

    fn enqueue(&mut self, id: usize, target: CpuId, share: Share) {
        let task = &mut self.tasks[id];
        let waiting = Waiting {
            item: id,
            share,
            affinity: task.affinity,
        };
        let queue = &mut self.queues[target.index()];
        if self.current[target.index()].is_none() && queue.is_empty() {
            queue.catch_up(self.top, self.now);
        }
        queue.insert(waiting, self.now);
        task.place = Place::Queued;
        task.cpu = target;
        task.share = share;
        task.waits_since = self.now;
    }

    /// What `dispatch` does on `cpu`; `prev_goes` when its runner yields or sleeps.
    fn dispatch(&mut self, cpu: usize, prev_goes: bool) {
        let prev = self.current[cpu];
        let overtaken = prev.is_none_or(|id| {
            let share = self.tasks[id].share;
            self.queues[cpu].first_overtakes(share, self.slice_start[cpu], self.now)
        });
        if prev.is_some() && !prev_goes && !overtaken {
            return self.begin(cpu, prev);
        }
        let next = self.queues[cpu].pop(self.now).map(|(_, w)| w.item);
        let next = next.or_else(|| self.steal(cpu));
        if let (Some(id), false) = (prev, prev_goes) {
            let share = self.tasks[id].share;
            self.enqueue(id, CpuId::try_new(cpu).unwrap(), share);
        }
        self.slice_start[cpu] = self.now;
        self.begin(cpu, next);
        self.balance(cpu);
    }

    fn begin(&mut self, cpu: usize, next: Option<usize>) {
        if let Some(id) = next {
            let task = &mut self.tasks[id];
            if matches!(task.place, Place::Queued) {
                task.longest_wait = task.longest_wait.max(self.now - task.waits_since);
            }
            task.place = Place::Running;
            task.cpu = CpuId::try_new(cpu).unwrap();
        }
        self.current[cpu] = next;
        self.queues[cpu].set_runner(next.map(|id| self.tasks[id].share), self.now);
        self.top = self.top.max(self.queues[cpu].reading(self.now).progress);
    }

    fn steal(&mut self, cpu: usize) -> Option<usize> {
        let thief = CpuId::try_new(cpu).unwrap();
        let now = self.now;
        let (from, (_, waiting)) = (0..self.queues.len())
            .filter(|from| *from != cpu)
            .find_map(|from| Some((from, self.queues[from].steal(thief, now)?)))?;
        let since = self.queues[from].reading(now);
        self.queues[cpu].catch_up(since.progress, now);
        let clock = self.queues[cpu].clock(now);
        self.tasks[waiting.item].share = waiting.share.place(since.clock, clock);
        Some(waiting.item)
    }

    fn balance(&mut self, cpu: usize) {
        for other in 0..self.queues.len() {
            let target = CpuId::try_new(other).unwrap();
            let there = self.queues[other].reading(self.now);
            if other == cpu || self.current[other].is_none() {
                continue;
            }
            let here = self.queues[cpu].clock(self.now);
            let Some(gap) = self.queues[cpu].lag_behind(there, self.now) else {
                continue;
            };
            if let Some((_, waiting)) = self.queues[cpu].steal(target, self.now) {
                let share = waiting.share.moved(here, there.clock, gap);
                self.enqueue(waiting.item, target, share);
                return;
            }
        }
    }

    /// One step of 50 microseconds on every CPU.
    fn step(&mut self) {
        const STEP: u64 = 50_000;
        self.now += STEP;
        for cpu in 0..self.queues.len() {
            let Some(id) = self.current[cpu] else {
                continue;
            };
            let task = &mut self.tasks[id];
            task.ran += STEP;
            task.share = task.share.charge(STEP);
            task.stretch_left = task.stretch_left.saturating_sub(STEP);
            let share = task.share;
            self.queues[cpu].set_runner(Some(share), self.now);
        }
        for id in 0..self.tasks.len() {
            if matches!(self.tasks[id].place, Place::Off) && self.tasks[id].wakes_at <= self.now {
                self.wake(id);
            }
        }
        for cpu in 0..self.queues.len() {
            let goes = self.current[cpu].is_some_and(|id| self.tasks[id].stretch_left == 0);
            if goes {
                self.rest(cpu);
            } else {
                self.dispatch(cpu, false);
            }
        }
        self.check();
    }

    fn rest(&mut self, cpu: usize) {
        let id = self.current[cpu].unwrap();
        let task = &mut self.tasks[id];
        task.stretch_left = task.habit.run_ns;
        task.place = Place::Off;
        let Some(sleep) = task.habit.sleep_ns else {
            // A yield: it waits again, and whoever waited runs first.
            let share = task.share;
            self.dispatch(cpu, true);
            return self.enqueue(id, CpuId::try_new(cpu).unwrap(), share);
        };
        task.wakes_at = self.now + sleep;
        self.dispatch(cpu, true);
    }

    /// Nobody is lost, nobody is in two places, no CPU idles beside one that waits for it.
    fn check(&self) {
        let running = self.current.iter().flatten().count();
        let queued: usize = self.queues.iter().map(RunQueue::len).sum();
        let off = |task: &&Task| matches!(task.place, Place::Off);
        assert_eq!(
            running + queued + self.tasks.iter().filter(off).count(),
            self.tasks.len()
        );
    }

    fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        while self.now < end {
            self.step();
        }
    }

    /// A task's part of all time that one CPU has, in thousandths.
    fn permille(&self, id: usize) -> u64 {
        self.tasks[id].ran * 1_000 / self.now
    }
}

const SECOND: u64 = 1_000_000_000;

fn assert_near(what: u64, wanted: u64, slack: u64) {
    assert!(what.abs_diff(wanted) <= slack, "{what}, wanted {wanted}");
}

#[test]
fn weights_are_shares() {
    let mut machine = Machine::new(1);
    let ids = [512, 256, 256].map(|weight| machine.add(weight, HOG, 1));
    machine.run(2 * SECOND);
    for (id, wanted) in ids.into_iter().zip([500, 250, 250]) {
        assert_near(machine.permille(id), wanted, 10);
    }
}

#[test]
fn three_hogs_share_two_cpus_evenly() {
    let mut machine = Machine::new(2);
    let ids = [0; 3].map(|_| machine.add(256, HOG, 0b11));
    machine.run(3 * SECOND);
    for id in ids {
        assert_near(machine.permille(id), 666, 20);
    }
}

#[test]
fn a_pinned_crowd_does_not_hold_back_the_free() {
    let mut machine = Machine::new(2);
    let crowd = [0; 3].map(|_| machine.add(256, HOG, 0b01));
    let free = machine.add(256, HOG, 0b10);
    machine.run(2 * SECOND);
    assert_near(machine.permille(free), 1_000, 5);
    for id in crowd {
        assert_near(machine.permille(id), 333, 10);
    }
}

#[test]
fn yielding_or_napping_just_before_the_slice_ends_steals_nothing() {
    for sleep_ns in [None, Some(50_000), Some(1_000_000)] {
        let mut machine = Machine::new(1);
        let run_ns = SLICE_NS - 100_000;
        let cheat = machine.add(256, Habit { run_ns, sleep_ns }, 1);
        let honest = machine.add(256, HOG, 1);
        machine.run(2 * SECOND);
        assert!(
            machine.permille(cheat) <= 505,
            "{sleep_ns:?}: {}",
            machine.permille(cheat)
        );
        assert!(machine.permille(honest) >= 495, "{sleep_ns:?}");
    }
}

#[test]
fn a_light_sleeper_beside_hogs_waits_little() {
    let mut machine = Machine::new(1);
    let light = Habit {
        run_ns: 100_000,
        sleep_ns: Some(1_000_000),
    };
    let sleeper = machine.add(256, light, 1);
    machine.add(256, HOG, 1);
    machine.add(256, HOG, 1);
    machine.run(SECOND);
    assert!(machine.tasks[sleeper].longest_wait <= 500_000);
}

fn any_task() -> impl Strategy<Value = (u16, Habit, u64)> {
    let sleep = prop_oneof![
        Just(None),
        Just(None),
        (50_000u64..20_000_000).prop_map(Some),
    ];
    let habit =
        (100_000u64..20_000_000, sleep).prop_map(|(run_ns, sleep_ns)| Habit { run_ns, sleep_ns });
    (64u16..1024, habit, 1u64..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nobody_is_lost_and_nobody_starves(
        cpus in 1usize..4,
        tasks in proptest::collection::vec(any_task(), 1..10),
    ) {
        let mut machine = Machine::new(cpus);
        for (weight, habit, affinity) in tasks {
            machine.add(weight, habit, affinity);
        }
        machine.run(SECOND / 2);
        for task in &machine.tasks {
            prop_assert!(task.ran > 0);
            // Every other task a slice in turn, sixteen times over for the weights' ratio.
            prop_assert!(task.longest_wait < 16 * 10 * SLICE_NS / 2);
        }
    }

    #[test]
    fn hogs_get_their_weight_whatever_the_sleepers_do(
        weights in proptest::collection::vec(64u16..1024, 2..5),
        naps in proptest::collection::vec((50_000u64..5_000_000, 50_000u64..5_000_000), 0..4),
    ) {
        let mut machine = Machine::new(1);
        let hogs: Vec<_> = weights.iter().map(|w| machine.add(*w, HOG, 1)).collect();
        for (run_ns, sleep) in naps {
            machine.add(256, Habit { run_ns, sleep_ns: Some(sleep) }, 1);
        }
        machine.run(2 * SECOND);
        let per_weight = |i: usize| machine.tasks[hogs[i]].ran / u64::from(weights[i]);
        for i in 1..hogs.len() {
            let (a, b) = (per_weight(0), per_weight(i));
            prop_assert!(a.abs_diff(b) * 20 <= a.max(b) + 20 * 2 * SLICE_NS / 64, "{a} and {b}");
        }
    }
}
