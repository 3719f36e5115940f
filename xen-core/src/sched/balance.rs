//! Moving vCPUs between CPUs: idle CPUs steal, and queues that lag send one away.

use super::dispatch;
use super::percpu::{self, PerCpu};
use super::runqueue::{Reading, Ticket, Waiting};
use super::vcpu::Place;
use super::wake;
use crate::cpu::{CpuId, CpuMask};
use crate::domain::VcpuRef;

/// Takes a vCPU that waits for another CPU, for this one has nothing to do.
pub(super) fn steal(cpu: CpuId, now: u64) -> Option<VcpuRef> {
    others(cpu).find_map(|from| {
        loop {
            let mut queue = PerCpu::of(from).queue.lock();
            let since = queue.reading(now);
            let (ticket, waiting) = queue.steal(cpu, now)?;
            drop(queue);
            if let Some(vcpu) = take_over(cpu, from, ticket, waiting, since, now) {
                break Some(vcpu);
            }
        }
    })
}

fn take_over(
    cpu: CpuId,
    from: CpuId,
    ticket: Ticket,
    waiting: Waiting<VcpuRef>,
    since: Reading,
    now: u64,
) -> Option<VcpuRef> {
    let vcpu = waiting.item;
    let mut inner = vcpu.sched.inner.lock();
    if inner.place != Place::Queued(from, ticket) {
        return None;
    }
    let mut queue = PerCpu::of(cpu).queue.lock();
    queue.catch_up(since.progress, now);
    inner.share = inner.share.place(since.clock, queue.clock(now));
    drop(queue);
    let begun = dispatch::begin(cpu, &vcpu, &mut inner, now);
    drop(inner);
    begun.then_some(vcpu)
}

/// Sends one of those who wait here to a CPU that has nothing to do, or whose vCPUs have been
/// getting clearly more.
pub(super) fn offload(cpu: CpuId, now: u64) {
    for target in others(cpu) {
        let there = PerCpu::of(target).queue.lock();
        let (is_idle, reading) = (there.is_idle() && there.is_empty(), there.reading(now));
        drop(there);
        let mut queue = PerCpu::of(cpu).queue.lock();
        let gap = if is_idle {
            Some(0)
        } else {
            queue.lag_behind(reading, now)
        };
        let Some(gap) = gap else { continue };
        let since = queue.clock(now);
        let Some((ticket, waiting)) = queue.steal(target, now) else {
            continue;
        };
        drop(queue);
        let moves = Move {
            from: cpu,
            target,
            gap,
            since,
            clock: reading.clock,
        };
        return moves.apply(ticket, waiting, now);
    }
}

/// A vCPU on its way to another queue.
struct Move {
    from: CpuId,
    target: CpuId,
    gap: u64,
    since: super::fair::VirtualTime,
    clock: super::fair::VirtualTime,
}

impl Move {
    fn apply(self, ticket: Ticket, waiting: Waiting<VcpuRef>, now: u64) {
        let vcpu = waiting.item;
        let mut inner = vcpu.sched.inner.lock();
        if inner.place == Place::Queued(self.from, ticket) {
            let share = inner.share.moved(self.since, self.clock, self.gap);
            wake::enqueue_on(self.target, vcpu.clone(), share, &mut inner, now);
        }
    }
}

/// All other CPUs, beginning after `cpu`, so that not all look at the first one.
fn others(cpu: CpuId) -> impl Iterator<Item = CpuId> {
    let rest = percpu::online().without(cpu);
    let below = CpuMask::from_bits(CpuMask::only(cpu).bits() - 1);
    let above = CpuMask::from_bits(!below.bits());
    rest.and(above).iter().chain(rest.and(below).iter())
}
