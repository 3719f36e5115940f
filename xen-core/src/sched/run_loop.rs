//! The end of every stay in the core: work that is due, then a vCPU to return to, or sleep.

use core::sync::atomic::Ordering;

use super::percpu::{self, NEVER, PerCpu, Softirq, raise};
use super::{alarm, dispatch, machine, runstate_area};
use crate::cpu::CpuId;
use crate::domain::VcpuRef;
use crate::time;

/// The vCPU that this CPU runs for. While the CPU is idle there is none.
#[inline]
pub fn current() -> Option<VcpuRef> {
    PerCpu::of(machine::this_cpu()).current.read().clone()
}

/// Does `work` for the vCPU that this CPU runs for, if there is one. No other vCPU becomes the
/// current one meanwhile, so there is no need for a counted reference.
#[inline]
pub fn with_current<R>(work: impl FnOnce(&VcpuRef) -> R) -> Option<R> {
    PerCpu::of(machine::this_cpu())
        .current
        .read()
        .as_ref()
        .map(work)
}

/// Does what is due, sleeps until there is a vCPU to return to, and has it prepared for that.
///
/// Interrupts are off; the guest registers of this CPU are those of the vCPU.
pub fn next_to_run<R>(prepare: impl FnOnce(&VcpuRef) -> R) -> R {
    let cpu = machine::this_cpu();
    loop {
        work(cpu);
        let current = PerCpu::of(cpu).current.read();
        if let Some(vcpu) = &*current {
            runstate_area::refresh(vcpu);
            return prepare(vcpu);
        }
        drop(current);
        idle(cpu);
    }
}

/// Whether this CPU may go straight back to `vcpu`, which it left a moment ago: nothing is due
/// here, so nobody else is to run, and nothing was put off that the guest must see.
#[inline]
pub fn is_quiet(vcpu: &VcpuRef) -> bool {
    let due = PerCpu::of(machine::this_cpu()).due();
    due.is_empty() && !runstate_area::is_stale(vcpu)
}

/// Lets others run first, if any wait for this CPU.
pub fn yield_(vcpu: &VcpuRef) {
    vcpu.sched.inner.lock().yielded = true;
    raise(machine::this_cpu(), Softirq::Schedule);
}

/// What the timer's interrupt does.
pub fn timer_interrupt() {
    let cpu = machine::this_cpu();
    PerCpu::of(cpu).programmed.store(NEVER, Ordering::Relaxed);
    raise(cpu, Softirq::Timer);
}

fn work(cpu: CpuId) {
    loop {
        let due = PerCpu::of(cpu).take_due();
        if due.is_empty() {
            return;
        }
        if due.has(Softirq::Timer) {
            alarm::run(cpu);
        }
        if due.has(Softirq::Schedule) {
            dispatch::schedule();
        }
    }
}

/// Sleeps until there is work.
///
/// First the CPU says that it idles, then it looks once more for somebody to run: whoever wakes a
/// vCPU either sees an idle CPU, or is seen. An interrupt that comes between that look and the
/// sleep ends the sleep at once, for interrupts are off until then.
fn idle(cpu: CpuId) {
    percpu::begin_idle(cpu, time::now());
    dispatch::schedule();
    while PerCpu::of(cpu).current.read().is_none() && PerCpu::of(cpu).due().is_empty() {
        machine::halt();
    }
    percpu::end_idle(cpu, time::now());
}
