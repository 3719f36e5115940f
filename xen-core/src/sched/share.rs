//! A domain's share of the CPUs: its weight and cap.

use core::sync::atomic::{AtomicBool, Ordering};

use guest_abi::errno::Errno;
use guest_abi::sched::ShutdownReason;

use super::alarm::set_timers;
use super::fair::Weight;
use super::percpu::{Softirq, raise};
use super::timer::WATCHDOGS;
use crate::domain::{Domain, DomainRef, VcpuRef};
use crate::sync::SpinLock;
use crate::time;

/// What the toolstack sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Params {
    /// The weight of each of its vCPUs.
    weight: Weight,
    /// Hundredths of a CPU that it may use at most; 0 is no limit. Stored only: the scheduler
    /// does not enforce caps yet.
    cap: u16,
}

/// A domain's weight and cap, and what its vCPUs share.
#[derive(Debug)]
pub struct DomainSched {
    params: SpinLock<Params>,
    pub(super) going_down: SpinLock<()>,
    watchdogs: [AtomicBool; WATCHDOGS],
    shutdown_code: SpinLock<Option<ShutdownReason>>,
}

impl Default for DomainSched {
    fn default() -> Self {
        Self::new()
    }
}

impl DomainSched {
    /// The default share.
    pub fn new() -> Self {
        Self {
            params: SpinLock::new(Params {
                weight: Weight::DEFAULT,
                cap: 0,
            }),
            going_down: SpinLock::new(()),
            watchdogs: [const { AtomicBool::new(false) }; WATCHDOGS],
            shutdown_code: SpinLock::new(None),
        }
    }

    /// Names the reason that its next shutdown is to be recorded under.
    pub fn set_shutdown_code(&self, reason: ShutdownReason) {
        *self.shutdown_code.lock() = Some(reason);
    }

    /// The reason to record for a shutdown that gives `reason`.
    pub fn shutdown_code_or(&self, reason: ShutdownReason) -> ShutdownReason {
        self.shutdown_code.lock().unwrap_or(reason)
    }
}

/// A domain's weight and cap.
pub fn share(domain: &Domain) -> (u16, u16) {
    let params = *domain.sched.params.lock();
    (params.weight.get(), params.cap)
}

/// Sets a domain's weight and cap.
///
/// # Errors
/// `EINVAL` for a weight of 0.
pub fn set_share(domain: &Domain, weight: u16, cap: u16) -> Result<(), Errno> {
    let weight = Weight::try_new(weight).ok_or(Errno::EINVAL)?;

    *domain.sched.params.lock() = Params { weight, cap };
    for vcpu in domain.vcpus() {
        let mut inner = vcpu.sched.inner.lock();
        inner.share = inner.share.with_weight(weight);
        drop(inner);
        if let Some(cpu) = vcpu.sched.running_on() {
            raise(cpu, Softirq::Schedule);
        }
    }
    Ok(())
}

/// Starts a free watchdog of a domain: unless it is patted within `timeout_s` seconds, the domain
/// is shut down. Returns its number, from 1; `None` when all are in use.
pub fn start_watchdog(domain: &DomainRef, timeout_s: u32) -> Option<u32> {
    let free = domain
        .sched
        .watchdogs
        .iter()
        .position(|used| !used.swap(true, Ordering::SeqCst))?;
    set_watchdog(domain, free, Some(timeout_s));
    u32::try_from(free + 1).ok()
}

/// Pats the watchdog with this number, or stops it for good with a timeout of 0; `false` when it
/// is not in use.
pub fn pat_watchdog(domain: &DomainRef, number: u32, timeout_s: u32) -> bool {
    let index = (number as usize).wrapping_sub(1);
    let Some(used) = domain.sched.watchdogs.get(index) else {
        return false;
    };
    if !used.load(Ordering::SeqCst) {
        return false;
    }
    if timeout_s == 0 {
        used.store(false, Ordering::SeqCst);
    }
    set_watchdog(domain, index, (timeout_s != 0).then_some(timeout_s));
    true
}

fn set_watchdog(domain: &DomainRef, index: usize, timeout_s: Option<u32>) {
    let deadline = timeout_s.map(|s| time::now().saturating_add(u64::from(s) * 1_000_000_000));
    let first: Option<VcpuRef> = domain
        .vcpus()
        .first()
        .and_then(|vcpu| VcpuRef::new(domain, vcpu.id));
    if let Some(vcpu) = first {
        set_timers(&vcpu, |timers| {
            if let Some(dog) = timers.watchdogs_ns.get_mut(index) {
                *dog = deadline;
            }
        });
    }
}
