//! Who runs next, on which CPU, and for how long.
//!
//! The pure parts know neither hardware nor vCPUs and take the time as an argument: [`fair`] turns
//! run time into virtual time, [`runqueue`] orders those who wait, [`placement`] picks a CPU for a
//! waker, [`runstate`] keeps the books, [`timer`] orders deadlines.

pub mod fair;
pub mod placement;
pub mod runqueue;
pub mod runstate;
pub mod timer;

#[cfg(test)]
mod simulation;

use guest_abi::ids::VcpuId;

/// A domain's weight and cap.
#[derive(Debug)]
pub struct DomainSched {}
impl DomainSched {
    /// Default weight.
    pub fn new() -> Self {
        Self {}
    }
}
/// A vCPU's place in the queues.
#[derive(Debug)]
pub struct VcpuSched {}
impl VcpuSched {
    /// Down.
    pub fn new(_id: VcpuId) -> Self {
        Self {}
    }
}
/// Takes all vCPUs of a domain off the CPUs for good.
pub fn stop_domain(_domain: &crate::domain::Domain) {}
/// Unblocks a vCPU, or makes it look at its events if it runs.
pub fn wake(_vcpu: &crate::domain::VcpuRef) {}
/// What the timer's interrupt does.
pub fn timer_interrupt() {}
