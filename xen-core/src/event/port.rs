//! The life of one port, as a pure machine.
//!
//! ```text
//!          open                     bind (by the named domain)
//!   Free ────────▶ Unbound{remote} ────────────────────────────▶ Interdomain{remote, port}
//!    ▲ │               ▲   ▲                                            │   │
//!    │ └──▶ Virq/Ipi/Pirq  └──────────── the peer closes its end ───────┘   │
//!    └──────── close, from any state ◀──────────────────────────────────────┘
//! ```

use guest_abi::errno::Errno;
use guest_abi::event_channel::PortStatus;
use guest_abi::ids::{DomId, Port, Virq};

/// What a port is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Nothing; the next opening may take it.
    Free,
    /// One named domain may connect to it.
    Unbound {
        /// The domain that may.
        remote: DomId,
    },
    /// A port of another domain (or of the same).
    Interdomain {
        /// Whose port.
        remote: DomId,
        /// Which port.
        port: Port,
    },
    /// A physical interrupt line.
    Pirq(u32),
    /// A virtual interrupt.
    Virq(Virq),
    /// Other vCPUs of the same domain.
    Ipi,
}

/// Why a port operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortError {
    /// No such port, or it is free.
    NotOpen,
    /// The port is connected to something that the operation does not fit.
    WrongState,
    /// Every port that the domain may have is in use.
    NoSpace,
    /// The core has no memory for more ports.
    NoMemory,
    /// The virtual interrupt or line already has its port.
    AlreadyBound,
    /// The domain has no such vCPU.
    NoSuchVcpu,
    /// No such virtual interrupt or line, or not to be bound in this way.
    BadSource,
    /// The domain is being taken apart.
    Dying,
}

impl From<PortError> for Errno {
    fn from(error: PortError) -> Self {
        match error {
            PortError::NotOpen
            | PortError::WrongState
            | PortError::BadSource
            | PortError::Dying => Self::EINVAL,
            PortError::NoSpace => Self::ENOSPC,
            PortError::NoMemory => Self::ENOMEM,
            PortError::AlreadyBound => Self::EEXIST,
            PortError::NoSuchVcpu => Self::ENOENT,
        }
    }
}

impl PortState {
    /// Connects an unbound port to `port` of `by`: only the domain that it waits for may.
    ///
    /// # Errors
    /// [`PortError::WrongState`] for every other state and every other domain.
    pub fn bind(self, by: DomId, port: Port) -> Result<Self, PortError> {
        match self {
            Self::Unbound { remote } if remote == by => Ok(Self::Interdomain { remote, port }),
            _ => Err(PortError::WrongState),
        }
    }

    /// What remains when the other end closes: the port waits for the same domain again.
    pub fn peer_closed(self) -> Self {
        match self {
            Self::Interdomain { remote, .. } => Self::Unbound { remote },
            other => other,
        }
    }

    /// Whether the port may be notified on another vCPU. Per-vCPU sources stay where they are.
    pub fn may_move(self) -> bool {
        match self {
            Self::Unbound { .. } | Self::Interdomain { .. } | Self::Pirq(_) => true,
            Self::Virq(virq) => !virq.is_per_vcpu(),
            Self::Free | Self::Ipi => false,
        }
    }

    /// The state as `EVTCHNOP_status` tells it.
    pub const fn status(self) -> PortStatus {
        match self {
            Self::Free => PortStatus::Closed,
            Self::Unbound { .. } => PortStatus::Unbound,
            Self::Interdomain { .. } => PortStatus::Interdomain,
            Self::Pirq(_) => PortStatus::Pirq,
            Self::Virq(_) => PortStatus::Virq,
            Self::Ipi => PortStatus::Ipi,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PortError, PortState};
    use guest_abi::ids::{DomId, Port, Virq};

    const fn dom(n: u16) -> DomId {
        DomId::new(n)
    }

    #[test]
    fn only_the_named_domain_binds_an_unbound_port() {
        let open = PortState::Unbound { remote: dom(3) };
        assert_eq!(open.bind(dom(4), Port::new(1)), Err(PortError::WrongState));
        let bound = open.bind(dom(3), Port::new(9)).unwrap();
        assert_eq!(
            bound,
            PortState::Interdomain {
                remote: dom(3),
                port: Port::new(9)
            }
        );
        assert_eq!(bound.bind(dom(3), Port::new(9)), Err(PortError::WrongState));
    }

    #[test]
    fn a_closed_peer_leaves_the_port_waiting_for_the_same_domain() {
        let bound = PortState::Interdomain {
            remote: dom(3),
            port: Port::new(9),
        };
        assert_eq!(bound.peer_closed(), PortState::Unbound { remote: dom(3) });
        assert_eq!(PortState::Ipi.peer_closed(), PortState::Ipi);
    }

    #[test]
    fn per_vcpu_sources_do_not_move() {
        assert!(!PortState::Ipi.may_move());
        assert!(!PortState::Virq(Virq::Timer).may_move());
        assert!(PortState::Virq(Virq::DomExc).may_move());
        assert!(PortState::Unbound { remote: dom(0) }.may_move());
        assert!(!PortState::Free.may_move());
    }
}
