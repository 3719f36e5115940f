//! Stopping vCPUs: paused by the toolstack, brought up and down by their guest, ended with it.
//!
//! A pause that is waited for returns when the vCPU's registers are saved and nothing runs it.
//! Nobody may wait for the vCPU that they themselves run for; callers see to that.

use core::sync::atomic::Ordering;

use guest_abi::errno::Errno;

use super::percpu::{self, Softirq, raise};
use super::vcpu::Place;
use super::wake::{rest_if_due, settle};
use super::{alarm, machine, runstate_area};
use crate::cpu::{CpuId, CpuMask};
use crate::domain::{Domain, DomainRef, Vcpu, VcpuRef};

/// One more reason for a vCPU not to run. Returns when it is off its CPU.
pub fn pause_vcpu(vcpu: &VcpuRef) {
    vcpu.sched.inner.lock().pauses += 1;
    settle(vcpu);
    wait_until_off(vcpu);
}

/// One reason fewer.
pub fn unpause_vcpu(vcpu: &VcpuRef) {
    let mut inner = vcpu.sched.inner.lock();
    inner.pauses = inner.pauses.saturating_sub(1);
    drop(inner);
    settle(vcpu);
}

/// Takes all vCPUs of a domain off the CPUs if its life or pause count says so, without waiting.
/// The caller, if it is one of them, goes on its way out of the core.
pub fn stop_domain(domain: &Domain) {
    for vcpu in domain.vcpus() {
        rest_if_due(domain, vcpu);
    }
}

/// Lets all vCPUs of a domain run that may.
pub fn resume_domain(domain: &DomainRef) {
    for vcpu in domain.vcpus() {
        if let Some(vcpu) = VcpuRef::new(domain, vcpu.id) {
            settle(&vcpu);
        }
    }
}

/// Pauses a domain. Returns when all of its vCPUs are off their CPUs.
pub fn pause(domain: &Domain) {
    domain.life.pause();
    sleep_sync(domain);
}

/// Takes one pause of a domain back.
///
/// # Errors
/// `EINVAL` when it was not paused.
pub fn unpause(domain: &DomainRef) -> Result<(), Errno> {
    if domain.life.unpause().ok_or(Errno::EINVAL)? {
        resume_domain(domain);
    }
    Ok(())
}

/// Waits until no vCPU of a domain that may not run is on a CPU.
pub fn sleep_sync(domain: &Domain) {
    stop_domain(domain);
    for vcpu in domain.vcpus() {
        wait_until_off(vcpu);
    }
}

fn wait_until_off(vcpu: &Vcpu) {
    while matches!(vcpu.sched.inner.lock().place, Place::Running(_)) {
        machine::relax();
    }
}

/// Brings up a vCPU that has been given a context.
pub fn bring_up(vcpu: &VcpuRef) {
    vcpu.sched.set_initialised();
    set_online(vcpu, true);
}

/// Brings a vCPU up or down, without waiting.
fn set_online(vcpu: &VcpuRef, is_online: bool) {
    vcpu.sched.inner.lock().online = is_online;
    settle(vcpu);
}

/// Takes the calling vCPU down; `false` when it is the domain's last one up, and stays.
pub fn take_down(vcpu: &VcpuRef) -> bool {
    let domain = vcpu.domain();
    // Two last vCPUs going down at once must not both take the other for the one that stays.
    let _one_at_a_time = domain.sched.going_down.lock();
    let is_last = !domain
        .vcpus()
        .iter()
        .any(|other| other.id != vcpu.id && other.sched.is_up());
    if !is_last {
        set_online(vcpu, false);
    }
    !is_last
}

/// Sets the CPUs that a vCPU may run on, and those that it would rather; moves it if it must.
pub fn set_affinity(vcpu: &VcpuRef, hard: CpuMask, soft: CpuMask) {
    // It leaves its queue and comes back, so that it is placed anew.
    vcpu.sched.inner.lock().pauses += 1;
    settle(vcpu);
    let mut inner = vcpu.sched.inner.lock();
    inner.affinity = hard;
    inner.soft_affinity = soft;
    inner.pauses = inner.pauses.saturating_sub(1);
    drop(inner);
    settle(vcpu);
    if let Some(cpu) = vcpu.sched.running_on() {
        raise(cpu, Softirq::Schedule);
    }
}

/// Ties a vCPU to one physical CPU until the number given is negative: then its affinity is what
/// it was.
///
/// # Errors
/// `EBUSY` when it is tied already, `EINVAL` when it is not, or there is no such CPU.
pub fn pin_override(vcpu: &VcpuRef, cpu: i32) -> Result<(), Errno> {
    let mut inner = vcpu.sched.inner.lock();
    let soft = inner.soft_affinity;
    let hard = match usize::try_from(cpu) {
        Err(_) => inner.overridden.take().ok_or(Errno::EINVAL)?,
        Ok(_) if inner.overridden.is_some() => return Err(Errno::EBUSY),
        Ok(number) => {
            let cpu = CpuId::try_new(number).ok_or(Errno::EINVAL)?;
            if !percpu::online().contains(cpu) {
                return Err(Errno::EINVAL);
            }
            inner.overridden = Some(inner.affinity);
            CpuMask::only(cpu)
        }
    };
    drop(inner);
    set_affinity(vcpu, hard, soft);
    Ok(())
}

/// Removes a dying domain from the scheduler: waits until nothing of it runs, and drops what its
/// timers hold.
pub fn retire_domain(domain: &Domain) {
    sleep_sync(domain);
    for vcpu in domain.vcpus() {
        alarm::cancel(vcpu);
        runstate_area::forget(vcpu);
        vcpu.sched.asleep.store(false, Ordering::SeqCst);
    }
}
