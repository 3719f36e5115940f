//! Event channels (placeholder of the skeleton; owner: events).
use guest_abi::ids::{VcpuId, Virq};
/// A domain's event channels.
#[derive(Debug)]
pub struct DomainEvents {}
impl DomainEvents {
    /// No port open.
    pub fn new(_max_port: u32) -> Self {
        Self {}
    }
}
/// Where a vCPU's vcpu_info lies.
#[derive(Debug)]
pub struct VcpuEvents {}
impl VcpuEvents {
    /// In the legacy slot.
    pub fn new(_id: VcpuId) -> Self {
        Self {}
    }
}
/// Sends a global VIRQ.
pub fn send_global_virq(_domain: &crate::domain::Domain, _virq: Virq) {}
/// A physical interrupt has arrived.
pub fn set_pirq_pending(_pirq: u32) {}
/// Bytes wait at the serial port: tells the privileged domain (`VIRQ_CONSOLE`).
pub fn on_console_input() {}
