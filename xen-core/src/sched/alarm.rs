//! vCPU timers at work: arming them on the CPU where their vCPU is, and firing them.

use core::sync::atomic::Ordering;

use guest_abi::ids::Virq;
use guest_abi::sched::ShutdownReason;

use super::percpu::{NEVER, PerCpu, Softirq, raise};
use super::timer::{Alarm, VcpuTimers};
use super::vcpu::Inner;
use super::{machine, wake};
use crate::cpu::CpuId;
use crate::domain::{Vcpu, VcpuRef};
use crate::event;
use crate::time;

/// How many timers fire before the CPU looks at its other duties.
const BATCH: usize = 64;

/// Changes a vCPU's timers.
pub fn set_timers(vcpu: &VcpuRef, change: impl FnOnce(&mut VcpuTimers)) {
    let mut inner = vcpu.sched.inner.lock();
    change(&mut inner.timers);
    let home = inner.home;
    arm(home, vcpu, &mut inner);
}

/// Has a vCPU's alarm where its vCPU now runs.
pub(super) fn follow(cpu: CpuId, vcpu: &VcpuRef) {
    let mut inner = vcpu.sched.inner.lock();
    if inner.alarm.is_some_and(|(at, _)| at != cpu) {
        arm(cpu, vcpu, &mut inner);
    }
}

/// Has the alarm ring, on `cpu`, no later than the first of the vCPU's timers is due.
///
/// An alarm that rings earlier stays: a guest that goes to sleep moves its timer far away and
/// back when it wakes, many times between two ticks. One that rings for nothing is armed anew.
fn arm(cpu: CpuId, vcpu: &VcpuRef, inner: &mut Inner) {
    let wanted = inner.timers.next_deadline();
    if let Some((at, alarm)) = inner.alarm {
        let is_in_time = wanted.is_none_or(|wanted| alarm.deadline_ns() <= wanted);
        if at == cpu && is_in_time {
            return;
        }
        drop(PerCpu::of(at).timers.lock().disarm(alarm));
        inner.alarm = None;
    }
    let Some(deadline) = wanted else { return };
    let mut timers = PerCpu::of(cpu).timers.lock();
    let alarm = timers.arm(deadline, vcpu.clone());
    let is_first = timers.next_deadline() == Some(deadline);
    drop(timers);
    inner.alarm = Some((cpu, alarm));
    if is_first {
        raise(cpu, Softirq::Timer);
    }
}

/// Takes a vCPU's timers away for good.
pub(super) fn cancel(vcpu: &Vcpu) {
    let mut inner = vcpu.sched.inner.lock();
    inner.timers = VcpuTimers::NONE;
    if let Some((at, alarm)) = inner.alarm.take() {
        drop(PerCpu::of(at).timers.lock().disarm(alarm));
    }
}

/// Fires what is due on this CPU, and asks for the next interrupt.
pub(super) fn run(cpu: CpuId) {
    let here = PerCpu::of(cpu);
    let now = time::now();
    for _ in 0..BATCH {
        let due = here.timers.lock().pop_due(now);
        let Some((alarm, vcpu)) = due else { break };
        fire(cpu, alarm, &vcpu, now);
    }
    if here.slice_end.load(Ordering::Relaxed) <= now {
        raise(cpu, Softirq::Schedule);
    } else {
        program(cpu);
    }
}

fn fire(cpu: CpuId, alarm: Alarm, vcpu: &VcpuRef, now: u64) {
    let mut inner = vcpu.sched.inner.lock();
    // The timers may have been changed since the alarm was popped: then another one stands.
    inner.alarm.take_if(|armed| *armed == (cpu, alarm));
    let fired = inner.timers.expire(now);
    arm(cpu, vcpu, &mut inner);
    drop(inner);

    if fired.timer {
        event::send_virq(vcpu, Virq::Timer);
    }
    if fired.poll {
        wake::wake(vcpu);
    }
    if fired.watchdog {
        log::warn!("d{}: its watchdog was not patted in time", vcpu.domain().id);
        vcpu.domain().shutdown(ShutdownReason::Watchdog);
    }
}

/// Asks for an interrupt at the next deadline or at the end of the slice, unless one has been
/// asked for that comes before. Setting the timer is dear, and most deadlines move away before
/// they come: an interrupt that is early finds nothing due and asks for the next.
pub(super) fn program(cpu: CpuId) {
    let here = PerCpu::of(cpu);
    let slice_end = here.slice_end.load(Ordering::Relaxed);
    let next = here.timers.lock().next_deadline().unwrap_or(NEVER);
    let deadline = next.min(slice_end);
    // Only this CPU programs its timer.
    if deadline < here.programmed.load(Ordering::Relaxed) {
        here.programmed.store(deadline, Ordering::Relaxed);
        machine::arm_timer(Some(deadline));
    }
}
