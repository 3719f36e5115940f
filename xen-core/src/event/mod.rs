//! Event channels: one bit from one domain, or from the core, to another.
//!
//! A port is an end of a channel ([`port`], [`table`], [`bind`]); what it is raised by is another
//! port, a virtual interrupt ([`virq`]), a device's line or another vCPU. Raising sets
//! bits in pages that the guest shares ([`two_level`], [`upcall`]) and wakes whoever looks at them
//! ([`deliver`], [`poll`]). The path of a send takes the sender's own port lock and no other,
//! allocates nothing, and fails for no reason of the receiver's.

pub mod bind;
pub mod deliver;
pub mod poll;
pub mod port;
pub mod table;
pub mod two_level;
pub mod upcall;
pub mod virq;

#[cfg(test)]
mod model_tests;

use guest_abi::frame::Mfn;
use guest_abi::ids::{DomId, VcpuId, Virq};

pub use deliver::{
    is_upcall_pending, mask_upcalls, poll_begin, poll_end, send_global_virq, send_virq, vcpu_info,
};
pub use table::Progress;

use crate::domain::DomainRef;

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
}

/// A physical interrupt has arrived.
pub fn set_pirq_pending(_pirq: u32) {}

/// Bytes wait at the serial port: tells the privileged domain (`VIRQ_CONSOLE`).
pub fn on_console_input() {
    if let Some(dom0) = crate::domain::table::get(DomId::DOM0) {
        send_global_virq(&dom0, Virq::Console);
    }
}
