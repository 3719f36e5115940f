//! Event channels: one bit from one domain, or from the core, to another.
//!
//! A port is an end of a channel ([`port`], [`table`], [`bind`]); what it is raised by is another
//! port, a virtual interrupt ([`virq`]), a device's line
//! ([`pirq`], [`lines`]) or another vCPU. Raising sets
//! bits in pages that the guest shares ([`two_level`], [`upcall`]) and wakes whoever looks at them
//! ([`deliver`], [`poll`]). The path of a send takes the sender's own port lock and no other,
//! allocates nothing, and fails for no reason of the receiver's.

pub mod bind;
pub mod deliver;
pub mod lines;
pub mod pirq;
pub mod poll;
pub mod port;
pub mod table;
pub mod two_level;
pub mod upcall;
pub mod virq;

#[cfg(test)]
mod domain_tests;
#[cfg(test)]
mod model_tests;

use guest_abi::frame::Mfn;
use guest_abi::ids::{DomId, Port, VcpuId, Virq};

pub use deliver::{
    is_upcall_pending, mask_upcalls, poll_begin, poll_end, register_vcpu_info, send_global_virq,
    send_virq, vcpu_info,
};
pub use lines::set_pirq_pending;
pub use table::Progress;

use self::port::{PortError, PortState};

use crate::domain::DomainRef;
use crate::hypercall::Stop;

/// The highest port that a domain can have.
pub const MAX_PORT: u32 = two_level::PORTS - 1;

/// Ports that one step of a domain's end closes.
const CLOSE_BUDGET: u32 = 256;

/// A domain's event channels.
#[derive(Debug)]
pub struct DomainEvents {
    pub(super) ports: table::Ports<DomainRef>,
    pub(super) pollers: poll::Pollers,
}

impl DomainEvents {
    /// No port open; ports up to `max_port` may be.
    pub fn new(max_port: u32) -> Self {
        Self {
            ports: table::Ports::new(max_port),
            pollers: poll::Pollers::default(),
        }
    }

    /// The ports.
    pub(crate) const fn ports(&self) -> &table::Ports<DomainRef> {
        &self.ports
    }

    /// Closes all ports of a domain that dies, a bounded number at a time, and lets go of the
    /// frames that its vCPUs' `vcpu_info` lie in. No vCPU of it runs any more.
    ///
    /// # Errors
    /// [`Stop::Again`] when there is more to do.
    pub fn close_all(&self, domain: &DomainRef) -> Result<(), Stop> {
        self.ports.start_dying();
        if close_some(domain, CLOSE_BUDGET) == Progress::More {
            return Err(Stop::Again);
        }
        lines::unmap_all(domain.id);
        for vcpu in domain.vcpus() {
            deliver::unregister_vcpu_info(vcpu);
        }
        Ok(())
    }

    /// How many ports are open.
    pub fn open_count(&self) -> u32 {
        self.ports.open_count()
    }
}

/// A vCPU's side of event channels.
#[derive(Debug)]
pub struct VcpuEvents {
    pub(super) info: upcall::InfoPlace,
    pub(super) virqs: virq::VirqPorts,
    pub(super) wish: poll::PollWish,
}

impl VcpuEvents {
    /// In the legacy slot of `shared_info`, nothing bound.
    pub fn new(id: VcpuId, shared_info: Mfn) -> Self {
        Self {
            info: upcall::InfoPlace::legacy(id, shared_info),
            virqs: virq::VirqPorts::default(),
            wish: poll::PollWish::default(),
        }
    }

    /// Where the `vcpu_info` lies, if there is one yet.
    pub fn vcpu_info(&self) -> Option<upcall::VcpuInfo> {
        self.info.get()
    }
}

/// Closes a port, and forgets the virtual or physical interrupt that it was bound to.
pub(crate) fn close(domain: &DomainRef, port: Port) -> Result<(), PortError> {
    let (state, vcpu) = bind::close(domain, port)?;
    forget_source(domain, port, state, vcpu);
    Ok(())
}

/// As [`close`], for up to `budget` ports.
pub(crate) fn close_some(domain: &DomainRef, budget: u32) -> Progress {
    bind::close_some(domain, budget, |port, state, vcpu| {
        forget_source(domain, port, state, vcpu);
    })
}

fn forget_source(domain: &DomainRef, port: Port, state: PortState, vcpu: VcpuId) {
    match state {
        PortState::Virq(virq) => {
            // A virtual interrupt of the whole domain stands in vCPU 0's table.
            let holder = if virq.is_per_vcpu() {
                vcpu
            } else {
                VcpuId::new(0)
            };
            if let Some(holder) = domain.vcpu(holder) {
                holder.events.virqs.unbind(virq, port);
            }
        }
        PortState::Pirq(pirq) => lines::unbind(domain.id, pirq, port),
        _ => {}
    }
}

/// Bytes wait at the serial port: tells the privileged domain (`VIRQ_CONSOLE`).
pub fn on_console_input() {
    if let Some(dom0) = crate::domain::table::get(DomId::DOM0) {
        send_global_virq(&dom0, Virq::Console);
    }
}
