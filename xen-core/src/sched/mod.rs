//! Scheduling (placeholder of the skeleton; owner: sched).
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
