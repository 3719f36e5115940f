//! Waking, and everything else that makes a vCPU runnable or not.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::vcpu::Runstate as State;

use super::fair::{Share, VirtualTime};
use super::percpu::{self, PerCpu, Softirq, raise};
use super::placement;
use super::runqueue::Waiting;
use super::vcpu::{Inner, Place};
use super::{dispatch, machine, poll};
use crate::cpu::CpuId;
use crate::domain::{Domain, Vcpu, VcpuRef};
use crate::time;

/// The furthest progress of any queue: what a CPU that idled is taken to have made as well.
static TOP: AtomicU64 = AtomicU64::new(0);

/// Records a queue's progress.
pub(super) fn note_progress(progress: VirtualTime) {
    let ns = progress.ahead_of(VirtualTime::ZERO);
    if TOP.load(Ordering::Relaxed) < ns {
        TOP.fetch_max(ns, Ordering::Relaxed);
    }
}

/// Has a vCPU look at its events: ends its sleep, whether it blocked or polls, or makes it pass
/// through the core's exit if it runs on another CPU.
pub fn wake(vcpu: &VcpuRef) {
    let sched = &vcpu.sched;
    if sched.asleep.load(Ordering::SeqCst) && sched.asleep.swap(false, Ordering::SeqCst) {
        poll::finish(vcpu);
        settle(vcpu);
    } else {
        kick(vcpu);
    }
}

/// Makes a vCPU that runs on another CPU pass through the core's exit.
pub fn kick(vcpu: &Vcpu) {
    if let Some(cpu) = vcpu.sched.running_on()
        && cpu != machine::this_cpu()
    {
        machine::interrupt(cpu);
    }
}

/// Brings a vCPU's place in line with whether it may run.
pub(super) fn settle(vcpu: &VcpuRef) {
    let now = time::now();
    let mut inner = vcpu.sched.inner.lock();
    let state = vcpu.sched.resting_state(&inner, vcpu.domain());
    if state != State::Runnable {
        rest(&mut inner, state, now);
    } else if inner.place == Place::Off {
        enqueue(vcpu.clone(), &mut inner, now);
    }
}

/// Takes a vCPU that may not run any longer out of its queue. If it is on a CPU it is told to go,
/// not waited for.
pub(super) fn rest_if_due(domain: &Domain, vcpu: &Vcpu) {
    let now = time::now();
    let mut inner = vcpu.sched.inner.lock();
    let state = vcpu.sched.resting_state(&inner, domain);
    if state != State::Runnable {
        rest(&mut inner, state, now);
    }
}

fn rest(inner: &mut Inner, state: State, now: u64) {
    match inner.place {
        Place::Off => inner.enter(state, now),
        Place::Queued(cpu, ticket) => {
            drop(PerCpu::of(cpu).queue.lock().remove(ticket));
            inner.place = Place::Off;
            inner.enter(state, now);
        }
        Place::Running(cpu) => raise(cpu, Softirq::Schedule),
    }
}

/// Puts a vCPU that is in no queue into one.
pub(super) fn enqueue(vcpu: VcpuRef, inner: &mut Inner, now: u64) {
    let target = placement::choose(
        inner.home,
        inner.affinity,
        percpu::online(),
        percpu::idle(),
        |cpu| PerCpu::of(cpu).queue.lock().len(),
    );
    if target != inner.home {
        let since = PerCpu::of(inner.home).queue.lock().clock(now);
        let clock = PerCpu::of(target).queue.lock().clock(now);
        let share = inner.share.place(since, clock);
        return enqueue_on(target, vcpu, share, inner, now);
    }
    let clock = PerCpu::of(target).queue.lock().clock(now);
    let share = inner.share.place(clock, clock);
    enqueue_on(target, vcpu, share, inner, now);
}

/// Puts a vCPU into a certain CPU's queue, with a share that fits there.
pub(super) fn enqueue_on(target: CpuId, vcpu: VcpuRef, share: Share, inner: &mut Inner, now: u64) {
    inner.share = share;
    inner.enter(State::Runnable, now);
    let waiting = Waiting {
        item: vcpu,
        share,
        affinity: inner.affinity,
    };
    let mut queue = PerCpu::of(target).queue.lock();
    if queue.is_idle() && queue.is_empty() {
        let top = VirtualTime::ZERO.plus(TOP.load(Ordering::Relaxed));
        queue.catch_up(top, now);
    }
    inner.place = Place::Queued(target, queue.insert(waiting, now));
    let shortened = dispatch::shortened_turn(target, &queue, now);
    drop(queue);
    inner.home = target;
    if let Some(end) = shortened
        && !dispatch::limit_turn(target, end, now)
    {
        percpu::claim_idle(target);
        raise(target, Softirq::Schedule);
    }
}
