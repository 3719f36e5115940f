//! Sleeping: `block` until any event, `poll` until one of some ports is pending.
//!
//! The sleeper first says that it sleeps and then looks for a reason not to; whoever sends an
//! event first sets its bit and then looks for sleepers. Both orders are total (sequentially
//! consistent), so one of the two always sees the other, and no wake-up is lost.

use core::sync::atomic::Ordering;

use guest_abi::ids::Port;

use super::alarm::set_timers;
use super::percpu::{Softirq, raise};
use super::{machine, wake};
use crate::domain::VcpuRef;
use crate::event::{self, port::PortError};
use crate::time;

/// Puts the calling vCPU to sleep until an event is to be delivered to it.
pub fn block(vcpu: &VcpuRef) {
    vcpu.sched.asleep.store(true, Ordering::SeqCst);
    fall_asleep(vcpu, false);
}

/// Puts the calling vCPU to sleep until one of `ports` is pending, masked or not, an event is to
/// be delivered, or `timeout_ns` (system time; 0 is never) has passed.
///
/// # Errors
/// [`PortError`] when one of the ports is not open.
pub fn poll(vcpu: &VcpuRef, ports: &[Port], timeout_ns: u64) -> Result<(), PortError> {
    vcpu.sched.polls.store(true, Ordering::SeqCst);
    vcpu.sched.asleep.store(true, Ordering::SeqCst);
    let begun = event::poll_begin(vcpu, ports);
    let is_timed = timeout_ns != 0;
    if is_timed {
        set_timers(vcpu, |timers| timers.poll_ns = Some(timeout_ns));
    }
    let is_over = !matches!(begun, Ok(false)) || is_timed && timeout_ns <= time::now();
    fall_asleep(vcpu, is_over);
    if !vcpu.sched.is_blocked() {
        // It was woken while it still made its bed.
        vcpu.sched.polls.store(true, Ordering::SeqCst);
        finish(vcpu);
    }
    begun.map(|_| ())
}

/// Sleeps, unless there is already what it would wait for.
fn fall_asleep(vcpu: &VcpuRef, is_over: bool) {
    if is_over || event::is_upcall_pending(vcpu) {
        wake::wake(vcpu);
    } else {
        raise(machine::this_cpu(), Softirq::Schedule);
    }
}

/// Tidies up after a poll, when its vCPU wakes.
pub(super) fn finish(vcpu: &VcpuRef) {
    if vcpu.sched.polls.swap(false, Ordering::SeqCst) {
        event::poll_end(vcpu);
        set_timers(vcpu, |timers| timers.poll_ns = None);
    }
}
