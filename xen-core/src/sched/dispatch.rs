//! Deciding who runs on this CPU, and switching to it.
//!
//! The order of a switch, and why:
//!
//! 1. the runner is charged and compared with the queue; the next one is claimed;
//! 2. the runner's run state is written to its memory while its page tables are still loaded;
//! 3. registers are exchanged;
//! 4. only now may the old runner be queued: another CPU could load it at once;
//! 5. the new runner's run state is written, under its own page tables.

use core::sync::atomic::Ordering;

use guest_abi::vcpu::Runstate as State;

use super::fair::SLICE_NS;
use super::percpu::{self, NEVER, PerCpu};
use super::runqueue::{RunQueue, Ticket, Waiting};
use super::vcpu::{Inner, Place};
use super::{alarm, balance, machine, runstate_area, wake};
use crate::cpu::CpuId;
use crate::domain::VcpuRef;
use crate::time;

/// Who runs next.
enum Next {
    /// The same as before.
    Stay,
    /// Another, or nobody.
    Switch(Option<VcpuRef>),
}

/// Decides anew who runs on this CPU. The registers of the guest that the CPU returns to may be
/// another vCPU's afterwards.
pub fn schedule() {
    let cpu = machine::this_cpu();
    let here = PerCpu::of(cpu);
    let now = time::now();
    let prev = here.current.read().clone();

    let next = match &prev {
        Some(prev) => contest(cpu, prev, now),
        None => match claim(cpu, now) {
            None => Next::Stay,
            next => Next::Switch(next),
        },
    };
    if let Next::Switch(next) = next {
        exchange(cpu, prev, next, now);
    }
    set_slice_end(cpu, now);
    alarm::program(cpu);
}

/// Lets the runner stay, or takes out of the queue who runs instead.
fn contest(cpu: CpuId, prev: &VcpuRef, now: u64) -> Next {
    let here = PerCpu::of(cpu);
    let mut inner = prev.sched.inner.lock();
    inner.charge(now);
    let stays = may_stay(cpu, prev, &inner);
    let yields = core::mem::take(&mut inner.yielded);

    let mut queue = here.queue.lock();
    if yields && let Some(first) = queue.first_vtime() {
        inner.share = inner.share.giving_way_to(first);
    }
    let share = inner.share;
    drop(inner);
    let since = here.slice_start.load(Ordering::Relaxed);
    let goes = !stays || (yields && !queue.is_empty()) || queue.first_overtakes(share, since, now);
    queue.set_runner(Some(share), now);
    drop(queue);
    if !goes {
        return Next::Stay;
    }
    match claim(cpu, now) {
        // Those who waited were gone before they could be had.
        None if stays => Next::Stay,
        next => Next::Switch(next),
    }
}

fn may_stay(cpu: CpuId, vcpu: &VcpuRef, inner: &Inner) -> bool {
    let affinity_is_void = inner.affinity.and(percpu::online()).is_empty();
    vcpu.sched.may_run(inner, vcpu.domain()) && (inner.affinity.contains(cpu) || affinity_is_void)
}

/// Takes the vCPU that this CPU runs next out of its queue, or else out of another's.
fn claim(cpu: CpuId, now: u64) -> Option<VcpuRef> {
    loop {
        let popped = PerCpu::of(cpu).queue.lock().pop(now);
        let Some((ticket, waiting)) = popped else {
            return balance::steal(cpu, now);
        };
        if let Some(vcpu) = take_over(cpu, ticket, waiting, now) {
            return Some(vcpu);
        }
    }
}

/// Makes a vCPU just taken out of this CPU's queue its runner, unless it was paused, moved or
/// ended in between.
fn take_over(cpu: CpuId, ticket: Ticket, waiting: Waiting<VcpuRef>, now: u64) -> Option<VcpuRef> {
    let vcpu = waiting.item;
    let mut inner = vcpu.sched.inner.lock();
    if inner.place != Place::Queued(cpu, ticket) {
        return None;
    }
    let begun = begin(cpu, &vcpu, &mut inner, now);
    drop(inner);
    begun.then_some(vcpu)
}

/// Marks a claimed vCPU as running here; `false` when it may not run any longer, and is off.
pub(super) fn begin(cpu: CpuId, vcpu: &VcpuRef, inner: &mut Inner, now: u64) -> bool {
    let state = vcpu.sched.resting_state(inner, vcpu.domain());
    if state != State::Runnable {
        inner.place = Place::Off;
        inner.enter(state, now);
        return false;
    }
    inner.place = Place::Running(cpu);
    inner.home = cpu;
    inner.charged_ns = now;
    inner.enter(State::Running, now);
    true
}

/// Switches from `prev` to `next`, which has been claimed.
fn exchange(cpu: CpuId, prev: Option<VcpuRef>, next: Option<VcpuRef>, now: u64) {
    let here = PerCpu::of(cpu);
    let share = next.as_ref().map(|next| next.sched.inner.lock().share);
    let mut queue = here.queue.lock();
    queue.set_runner(share, now);
    wake::note_progress(queue.reading(now).progress);
    drop(queue);
    here.slice_start.store(now, Ordering::Relaxed);

    if let Some(prev) = &prev {
        leave_running(prev, now);
        runstate_area::publish_rest(prev);
    }
    machine::switch(prev.as_ref(), next.as_ref());
    (*here.current.write()).clone_from(&next);
    if let Some(prev) = prev {
        release(cpu, &prev, now);
    }
    if let Some(next) = next {
        next.sched.set_running_on(Some(cpu));
        alarm::follow(cpu, &next);
        runstate_area::publish(&next);
    }
}

fn leave_running(prev: &VcpuRef, now: u64) {
    let sched = &prev.sched;
    let mut inner = sched.inner.lock();
    let state = sched.resting_state(&inner, prev.domain());
    inner.enter(state, now);
}

/// Lets go of a vCPU whose registers are saved: it waits again, or rests.
fn release(cpu: CpuId, prev: &VcpuRef, now: u64) {
    let sched = &prev.sched;
    sched.set_running_on(None);
    let mut inner = sched.inner.lock();
    inner.place = Place::Off;
    let state = sched.resting_state(&inner, prev.domain());
    if state != State::Runnable {
        return inner.enter(state, now);
    }
    let share = inner.share;
    if inner.affinity.contains(cpu) {
        wake::enqueue_on(cpu, prev.clone(), share, &mut inner, now);
    } else {
        wake::enqueue(prev.clone(), &mut inner, now);
    }
}

/// When the turn of a CPU's runner is over now, if that is sooner than was known.
pub(super) fn shortened_turn(cpu: CpuId, queue: &RunQueue<VcpuRef>, now: u64) -> Option<u64> {
    let here = PerCpu::of(cpu);
    let end = queue.turn_end(here.slice_start.load(Ordering::Relaxed), now)?;
    (end < here.slice_end.load(Ordering::Relaxed)).then_some(end)
}

/// Sets when the turn of this CPU's runner is over. `false` when it is over, or the runner is
/// another CPU's.
pub(super) fn limit_turn(cpu: CpuId, end: u64, now: u64) -> bool {
    if cpu != machine::this_cpu() || end <= now {
        return false;
    }
    PerCpu::of(cpu).slice_end.store(end, Ordering::Relaxed);
    alarm::program(cpu);
    true
}

/// Sets when the runner's turn is over: only if somebody waits for it.
fn set_slice_end(cpu: CpuId, now: u64) {
    let here = PerCpu::of(cpu);
    let start = here.slice_start.load(Ordering::Relaxed);
    let queue = here.queue.lock();
    let contended = !queue.is_idle();
    let end = queue.turn_end(start, now).filter(|_| contended);
    drop(queue);
    let end = match end {
        None => NEVER,
        Some(end) => {
            balance::offload(cpu, now);
            end
        }
    };
    if end <= now {
        // It is still behind those who wait: another slice.
        here.slice_start.store(now, Ordering::Relaxed);
    }
    let end = if end <= now {
        now.saturating_add(SLICE_NS)
    } else {
        end
    };
    here.slice_end.store(end, Ordering::Relaxed);
}
