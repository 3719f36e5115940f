//! What each physical CPU schedules with: its queue, its timers, who runs, what is to be done.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::machine;
use super::runqueue::RunQueue;
use super::timer::TimerQueue;
use crate::cpu::{AtomicCpuMask, CpuId, CpuMask, MAX_CPUS};
use crate::domain::VcpuRef;
use crate::sync::{RwLock, SpinLock};
use crate::time;

/// Work that a CPU does on its way out of the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum Softirq {
    /// Look at the timers.
    Timer = 1 << 0,
    /// Decide anew who runs.
    Schedule = 1 << 1,
}

/// A set of [`Softirq`]s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due(u32);

impl Due {
    /// Whether this one is due.
    pub(super) const fn has(self, softirq: Softirq) -> bool {
        self.0 & softirq as u32 != 0
    }

    /// Whether nothing is due.
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One CPU's part of the scheduler.
///
/// Lock order: a vCPU's lock, then one queue's; two CPUs' queues are never locked together.
#[derive(Debug)]
pub(super) struct PerCpu {
    /// Who waits here.
    pub(super) queue: SpinLock<RunQueue<VcpuRef>>,
    /// Deadlines of the vCPUs that last ran here.
    pub(super) timers: SpinLock<TimerQueue<VcpuRef>>,
    /// Who runs here; only this CPU takes the lock. Whoever reads it may hold on to what it reads
    /// for as long as it does not schedule, without counting itself among the vCPU's holders.
    pub(super) current: RwLock<Option<VcpuRef>>,
    /// When the current slice began.
    pub(super) slice_start: AtomicU64,
    /// When somebody else's turn comes; [`NEVER`] while nobody waits.
    pub(super) slice_end: AtomicU64,
    /// What its timer is set to, no later than it must; [`NEVER`] once that has interrupted.
    pub(super) programmed: AtomicU64,
    /// How long it has idled, up to the last time it stopped.
    idled_ns: AtomicU64,
    /// Since when it idles; [`NEVER`] while it does not.
    idle_since_ns: AtomicU64,
    softirqs: AtomicU32,
}

/// A time that does not come.
pub(super) const NEVER: u64 = u64::MAX;

static CPUS: [PerCpu; MAX_CPUS] = [const { PerCpu::new() }; MAX_CPUS];
static IDLE: AtomicCpuMask = AtomicCpuMask::new();

impl PerCpu {
    const fn new() -> Self {
        Self {
            queue: SpinLock::new(RunQueue::new()),
            timers: SpinLock::new(TimerQueue::new()),
            current: RwLock::new(None),
            slice_start: AtomicU64::new(0),
            slice_end: AtomicU64::new(NEVER),
            programmed: AtomicU64::new(NEVER),
            idled_ns: AtomicU64::new(0),
            idle_since_ns: AtomicU64::new(NEVER),
            softirqs: AtomicU32::new(0),
        }
    }

    /// The part of `cpu`.
    pub(super) fn of(cpu: CpuId) -> &'static Self {
        // A `CpuId` is below `MAX_CPUS` by construction.
        &CPUS[cpu.index()]
    }

    /// What is due here.
    pub(super) fn due(&self) -> Due {
        Due(self.softirqs.load(Ordering::SeqCst))
    }

    /// What is due here, which now has to be done.
    pub(super) fn take_due(&self) -> Due {
        match self.due() {
            none if none.is_empty() => none,
            _ => Due(self.softirqs.swap(0, Ordering::SeqCst)),
        }
    }
}

/// Has `cpu` do something on its way out of the core, into which it is brought if need be.
///
/// A flag that is up already needs no interrupt: whoever raised it has sent one, or is that CPU
/// itself, which looks at its flags before it leaves.
pub(super) fn raise(cpu: CpuId, softirq: Softirq) {
    let softirqs = &PerCpu::of(cpu).softirqs;
    let before = softirqs.fetch_or(softirq as u32, Ordering::SeqCst);
    if before & softirq as u32 == 0 && cpu != machine::this_cpu() {
        machine::interrupt(cpu);
    }
}

/// The CPUs that schedule.
pub fn online() -> CpuMask {
    machine::online()
}

/// Gives back what empty queues keep for what comes next, so that memory in use can be compared.
pub fn trim() {
    for cpu in online().iter() {
        let there = PerCpu::of(cpu);
        there.queue.lock().trim();
        there.timers.lock().trim();
    }
}

/// The CPUs that have nothing to do.
pub(super) fn idle() -> CpuMask {
    IDLE.load()
}

/// `cpu` has been given something to do.
pub(super) fn claim_idle(cpu: CpuId) {
    IDLE.remove(cpu);
}

/// `cpu`, this one, has nothing to do from `now` on.
pub(super) fn begin_idle(cpu: CpuId, now: u64) {
    PerCpu::of(cpu).idle_since_ns.store(now, Ordering::Relaxed);
    IDLE.insert(cpu);
}

/// `cpu`, this one, has something to do again.
pub(super) fn end_idle(cpu: CpuId, now: u64) {
    IDLE.remove(cpu);
    let here = PerCpu::of(cpu);
    let since = here.idle_since_ns.swap(NEVER, Ordering::Relaxed);
    let idled = now.saturating_sub(since);
    here.idled_ns.fetch_add(idled, Ordering::Relaxed);
}

/// How long `cpu` has had nothing to do.
pub fn idle_ns(cpu: CpuId) -> u64 {
    let there = PerCpu::of(cpu);
    let since = there.idle_since_ns.load(Ordering::Relaxed);
    let current = time::now().saturating_sub(since);
    there
        .idled_ns
        .load(Ordering::Relaxed)
        .saturating_add(current)
}
