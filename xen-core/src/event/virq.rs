//! Virtual interrupts: which port each is bound to.
//!
//! Every vCPU has its own table. Interrupts that exist once a domain stand in vCPU 0's; their
//! port may then be notified on any vCPU.

use core::sync::atomic::{AtomicU32, Ordering};

use guest_abi::ids::{NR_VIRQS, Port, VcpuId, Virq};

use super::port::{PortError, PortState};
use super::table::Endpoint;

/// An entry whose port is being opened.
const CLAIMED: u32 = u32::MAX;

/// The ports of one vCPU's virtual interrupts.
#[derive(Debug)]
pub struct VirqPorts([AtomicU32; NR_VIRQS as usize]);

impl Default for VirqPorts {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; NR_VIRQS as usize])
    }
}

impl VirqPorts {
    /// The port that `virq` is bound to.
    pub fn get(&self, virq: Virq) -> Option<Port> {
        match self.entry(virq)?.load(Ordering::SeqCst) {
            0 | CLAIMED => None,
            port => Some(Port::new(port)),
        }
    }

    /// Binds a new port of `owner`, notified on `vcpu`, to `virq`.
    ///
    /// # Errors
    /// [`PortError::AlreadyBound`]; otherwise see [`Ports::open`](super::table::Ports::open).
    pub fn bind<P: Endpoint>(
        &self,
        owner: &P,
        virq: Virq,
        vcpu: VcpuId,
    ) -> Result<Port, PortError> {
        let entry = self.entry(virq).ok_or(PortError::BadSource)?;
        entry
            .compare_exchange(0, CLAIMED, Ordering::SeqCst, Ordering::SeqCst)
            .map_err(|_| PortError::AlreadyBound)?;
        let port = owner.ports().open(PortState::Virq(virq), vcpu);
        let value = port.as_ref().map_or(0, |port| port.get());
        entry.store(value, Ordering::SeqCst);
        port
    }

    /// Forgets that `virq` was bound to `port`, which is closed.
    pub fn unbind(&self, virq: Virq, port: Port) {
        if let Some(entry) = self.entry(virq) {
            let _ = entry.compare_exchange(port.get(), 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    fn entry(&self, virq: Virq) -> Option<&AtomicU32> {
        self.0.get(virq.number() as usize)
    }
}

/// The vCPU whose table holds `virq`, if it may be bound for `vcpu`.
///
/// # Errors
/// [`PortError::BadSource`] for an interrupt of the whole domain and another vCPU than 0.
pub fn table_of(virq: Virq, vcpu: VcpuId) -> Result<VcpuId, PortError> {
    if virq.is_per_vcpu() || vcpu == VcpuId::new(0) {
        Ok(vcpu)
    } else {
        Err(PortError::BadSource)
    }
}

#[cfg(test)]
mod tests {
    use super::table_of;
    use crate::event::port::PortError;
    use guest_abi::ids::{VcpuId, Virq};

    #[test]
    fn a_virq_of_the_whole_domain_is_bound_at_vcpu_0() {
        assert_eq!(table_of(Virq::Timer, VcpuId::new(3)), Ok(VcpuId::new(3)));
        assert_eq!(table_of(Virq::DomExc, VcpuId::new(0)), Ok(VcpuId::new(0)));
        assert_eq!(
            table_of(Virq::DomExc, VcpuId::new(1)),
            Err(PortError::BadSource)
        );
    }
}
