//! Virtual CPUs.

use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;

use guest_abi::frame::Mfn;
use guest_abi::ids::VcpuId;

use super::{Domain, DomainRef};
use crate::event::VcpuEvents;
use crate::sched::VcpuSched;
use crate::sync::SpinLock;
use crate::trap::{EntryState, VcpuContext};

/// One virtual CPU of a domain.
#[derive(Debug)]
pub struct Vcpu {
    /// Its number within the domain.
    pub id: VcpuId,
    /// What the assembly of entry and exit reads and writes.
    pub entry: EntryState,
    /// Registers and the rest of what it is switched with. Locked for the length of a switch or
    /// of a hypercall that changes it.
    pub context: SpinLock<VcpuContext>,
    /// Where its `vcpu_info` lies.
    pub events: VcpuEvents,
    /// Its place in the run queues, its times and timers.
    pub sched: VcpuSched,
}

impl Vcpu {
    /// A vCPU that is down, of the domain with this `shared_info` frame.
    pub(super) fn new(id: VcpuId, shared_info: Mfn) -> Self {
        let events = VcpuEvents::new(id, shared_info);
        let entry = EntryState::new();
        if let Some(info) = events.vcpu_info() {
            entry.set_vcpu_info(info.core_address());
        }
        Self {
            id,
            entry,
            context: SpinLock::new(VcpuContext::new()),
            events,
            sched: VcpuSched::new(id),
        }
    }
}

/// A shared hold on a vCPU: keeps its whole domain alive.
#[derive(Clone)]
pub struct VcpuRef {
    domain: DomainRef,
    id: VcpuId,
}

impl VcpuRef {
    /// The vCPU `id` of `domain`, if it has such a one.
    pub fn new(domain: &DomainRef, id: VcpuId) -> Option<Self> {
        domain.vcpu(id)?;
        Some(Self {
            domain: Arc::clone(domain),
            id,
        })
    }

    /// Its domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Its domain, to be held on to.
    pub const fn domain_ref(&self) -> &DomainRef {
        &self.domain
    }

    /// Whether both name the same vCPU.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.domain, &other.domain) && self.id == other.id
    }
}

impl Deref for VcpuRef {
    type Target = Vcpu;

    fn deref(&self) -> &Vcpu {
        // The constructor checked the index, and a domain's vCPUs never move or go.
        &self.domain.vcpus()[self.id.get() as usize]
    }
}

impl fmt::Display for VcpuRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}v{}", self.domain.id, self.id)
    }
}

impl fmt::Debug for VcpuRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
