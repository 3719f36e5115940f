//! Real domains on the fake machine: its only CPU, on which time stands still.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use guest_abi::ids::VcpuId;
use guest_abi::sched::ShutdownReason;
use guest_abi::vcpu::Runstate as State;

use super::fair::MIN_TURN_NS;
use super::vcpu::Place;
use super::{
    block, bring_up, current, pat_watchdog, poll, resume_domain, retire_domain, schedule,
    set_share, set_timers, share, start_watchdog, take_down, unpause, wake, yield_,
};
use crate::cpu::CpuId;
use crate::domain::{Domain, DomainRef, Stage, VcpuRef};
use crate::sched::percpu::{PerCpu, Softirq};

/// The tests share a CPU: one at a time.
struct Bench {
    domain: DomainRef,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new(id: u16, vcpus: u32) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let domain = Domain::fake(id, vcpus);
        domain
            .vcpus()
            .iter()
            .for_each(crate::time::pvclock::publish);
        let bench = Self {
            domain,
            _turn: turn,
        };
        (0..vcpus).for_each(|id| bring_up(&bench.vcpu(id)));
        bench
    }

    fn vcpu(&self, id: u32) -> VcpuRef {
        VcpuRef::new(&self.domain, VcpuId::new(id)).unwrap()
    }

    fn place(&self, id: u32) -> Place {
        self.vcpu(id).sched.inner.lock().place
    }

    fn is_running(&self, id: u32) -> bool {
        let is_current = current().is_some_and(|vcpu| vcpu.is(&self.vcpu(id)));
        assert_eq!(is_current, matches!(self.place(id), Place::Running(_)));
        is_current
    }

    fn is_queued(&self, id: u32) -> bool {
        matches!(self.place(id), Place::Queued(..))
    }
}

impl Drop for Bench {
    /// Leaves the CPU idle for the next test.
    fn drop(&mut self) {
        self.domain.life.start_dying();
        super::stop_domain(&self.domain);
        schedule();
        retire_domain(&self.domain);
        assert!(current().is_none());
        assert!(PerCpu::of(CpuId::BOOT).queue.lock().is_empty());
        assert!(
            PerCpu::of(CpuId::BOOT)
                .timers
                .lock()
                .next_deadline()
                .is_none()
        );
        assert_eq!(std::sync::Arc::strong_count(&self.domain), 1);
    }
}

#[test]
fn a_domain_waits_until_it_is_unpaused() {
    let bench = Bench::new(1001, 2);
    schedule();
    assert!(current().is_none());
    assert_eq!(bench.vcpu(0).sched.runstate().state(), State::Offline);
    unpause(&bench.domain).unwrap();
    assert!(bench.is_queued(0) && bench.is_queued(1));
    schedule();
    assert!(bench.is_running(0) && bench.is_queued(1));
    assert_eq!(bench.vcpu(0).sched.runstate().state(), State::Running);
    assert_eq!(bench.vcpu(1).sched.runstate().state(), State::Runnable);
    assert!(unpause(&bench.domain).is_err());
}

#[test]
fn a_yield_lets_the_other_run() {
    let bench = Bench::new(1002, 2);
    unpause(&bench.domain).unwrap();
    schedule();
    schedule();
    assert!(bench.is_running(0));
    yield_(&bench.vcpu(0));
    schedule();
    assert!(bench.is_queued(0) && bench.is_running(1));
}

#[test]
fn a_waker_far_behind_waits_for_the_least_turn() {
    let bench = Bench::new(1013, 2);
    let (runner, waker) = (bench.vcpu(0), bench.vcpu(1));
    let mut inner = runner.sched.inner.lock();
    inner.share = inner.share.charge(1_000_000_000);
    drop(inner);
    unpause(&bench.domain).unwrap();
    schedule();
    assert!(bench.is_running(1));
    block(&waker);
    schedule();
    assert!(bench.is_running(0));
    let here = PerCpu::of(CpuId::BOOT);
    let start = here.slice_start.load(Ordering::Relaxed);
    wake(&waker);
    schedule();
    assert!(bench.is_running(0) && bench.is_queued(1));
    assert_eq!(here.slice_end.load(Ordering::Relaxed), start + MIN_TURN_NS);
}

#[test]
fn a_yield_is_not_undone_by_a_right_to_more_time() {
    let bench = Bench::new(1012, 2);
    // The other one has had its share for a while.
    let other = bench.vcpu(1);
    let mut inner = other.sched.inner.lock();
    inner.share = inner.share.charge(1_000_000_000);
    drop(inner);
    drop(other);
    unpause(&bench.domain).unwrap();
    schedule();
    schedule();
    assert!(bench.is_running(0));
    yield_(&bench.vcpu(0));
    schedule();
    schedule();
    assert!(bench.is_queued(0) && bench.is_running(1));
}

#[test]
fn a_blocked_vcpu_runs_again_once_it_is_woken() {
    let bench = Bench::new(1003, 1);
    unpause(&bench.domain).unwrap();
    schedule();
    block(&bench.vcpu(0));
    assert!(PerCpu::of(CpuId::BOOT).due().has(Softirq::Schedule));
    schedule();
    assert_eq!(bench.place(0), Place::Off);
    assert_eq!(bench.vcpu(0).sched.runstate().state(), State::Blocked);
    wake(&bench.vcpu(0));
    assert!(bench.is_queued(0));
    schedule();
    assert!(bench.is_running(0));
}

#[test]
fn a_wake_before_the_switch_is_not_lost() {
    let bench = Bench::new(1004, 1);
    unpause(&bench.domain).unwrap();
    schedule();
    block(&bench.vcpu(0));
    wake(&bench.vcpu(0));
    schedule();
    assert!(bench.is_running(0));
}

#[test]
fn a_poll_whose_time_is_over_does_not_sleep() {
    let bench = Bench::new(1005, 1);
    unpause(&bench.domain).unwrap();
    schedule();
    // Time stands at 0, and 0 means for ever: this one sleeps.
    poll(&bench.vcpu(0), &[], 0).unwrap();
    assert!(bench.vcpu(0).sched.is_blocked());
    wake(&bench.vcpu(0));
    assert!(!bench.vcpu(0).sched.is_blocked());
    poll(&bench.vcpu(0), &[], 5).unwrap();
    assert_eq!(bench.vcpu(0).sched.inner.lock().timers.poll_ns, Some(5));
    wake(&bench.vcpu(0));
    assert_eq!(bench.vcpu(0).sched.inner.lock().timers.poll_ns, None);
}

#[test]
fn a_domain_that_shut_down_stays_off_whatever_wakes_it() {
    let bench = Bench::new(1006, 2);
    unpause(&bench.domain).unwrap();
    schedule();
    bench.domain.shutdown(ShutdownReason::Suspend);
    schedule();
    assert!(current().is_none());
    assert_eq!((bench.place(0), bench.place(1)), (Place::Off, Place::Off));
    wake(&bench.vcpu(0));
    schedule();
    assert!(current().is_none());
    assert_eq!(
        bench.domain.life.stage(),
        Stage::ShutDown(ShutdownReason::Suspend)
    );
    resume_domain(&bench.domain);
    assert_eq!(bench.place(0), Place::Off);
}

#[test]
fn the_last_vcpu_up_does_not_go_down() {
    let bench = Bench::new(1007, 2);
    unpause(&bench.domain).unwrap();
    schedule();
    assert!(take_down(&bench.vcpu(1)));
    assert_eq!(bench.place(1), Place::Off);
    assert!(!take_down(&bench.vcpu(0)));
    assert!(bench.is_running(0));
    bring_up(&bench.vcpu(1));
    assert!(bench.is_queued(1));
}

fn next_alarm() -> Option<u64> {
    PerCpu::of(CpuId::BOOT).timers.lock().next_deadline()
}

#[test]
fn a_vcpu_has_one_alarm_no_later_than_the_earliest_of_its_timers() {
    let bench = Bench::new(1008, 1);
    let vcpu = bench.vcpu(0);
    set_timers(&vcpu, |timers| timers.poll_ns = Some(70));
    assert_eq!(next_alarm(), Some(70));
    set_timers(&vcpu, |timers| timers.singleshot_ns = Some(50));
    assert_eq!(next_alarm(), Some(50));
    set_timers(&vcpu, |timers| timers.singleshot_ns = Some(60));
    set_timers(&vcpu, |timers| timers.singleshot_ns = None);
    assert_eq!(
        next_alarm(),
        Some(50),
        "a timer that moves away leaves the alarm"
    );
    let rang = PerCpu::of(CpuId::BOOT).timers.lock().pop_due(100);
    assert!(rang.is_some());
    assert_eq!(next_alarm(), None, "there was one alarm only");
}

#[test]
fn an_alarm_that_rings_for_nothing_is_armed_anew() {
    let bench = Bench::new(1013, 1);
    let vcpu = bench.vcpu(0);
    let now = crate::time::now();
    set_timers(&vcpu, |timers| timers.singleshot_ns = Some(now));
    set_timers(&vcpu, |timers| timers.singleshot_ns = Some(now + 50));
    assert_eq!(next_alarm(), Some(now));
    super::alarm::run(CpuId::BOOT);
    assert_eq!(next_alarm(), Some(now + 50));
    assert_eq!(vcpu.sched.inner.lock().timers.singleshot_ns, Some(now + 50));
    set_timers(&vcpu, |timers| timers.singleshot_ns = None);
    assert_eq!(next_alarm(), Some(now + 50));
}

#[test]
fn a_domain_has_two_watchdogs() {
    let bench = Bench::new(1009, 1);
    assert_eq!(start_watchdog(&bench.domain, 10), Some(1));
    assert_eq!(start_watchdog(&bench.domain, 20), Some(2));
    assert_eq!(start_watchdog(&bench.domain, 30), None);
    assert!(pat_watchdog(&bench.domain, 1, 0));
    assert!(!pat_watchdog(&bench.domain, 1, 10));
    assert!(!pat_watchdog(&bench.domain, 0, 10));
    assert!(!pat_watchdog(&bench.domain, 3, 10));
}

#[test]
fn a_share_is_what_was_set() {
    let bench = Bench::new(1010, 1);
    assert_eq!(share(&bench.domain), (256, 0));
    assert!(set_share(&bench.domain, 0, 0).is_err());
    set_share(&bench.domain, 512, 50).unwrap();
    assert_eq!(share(&bench.domain), (512, 50));
}
