//! One physical interrupt of a guest's, as a pure machine.
//!
//! ```text
//!   Free ─▶ Reserved ─▶ Mapped ◀──────▶ Bound{port} ◀───────▶ Bound{port, in service}
//!     └───────────────────▲   bind/close           raise/eoi
//! ```
//!
//! Mapping says what the number stands for; only binding it to a port lets it interrupt. A
//! level-triggered line is masked from each interrupt until the guest's `eoi`; edges and messages
//! need none.

use guest_abi::ids::{DomId, Port};

use super::port::PortError;

/// How many physical interrupts there can be.
pub const LINES: u32 = 256;

/// How a pin is triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Whether it stays asserted until served, rather than giving an edge.
    pub level: bool,
    /// Whether it is asserted when low.
    pub active_low: bool,
}

/// What a physical interrupt's number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A pin of an I/O interrupt controller.
    Gsi {
        /// Its number.
        gsi: u32,
        /// How it is triggered.
        trigger: Trigger,
    },
    /// An entry of a device's MSI-X table.
    Message {
        /// The table's machine address.
        table: u64,
        /// The entry's index.
        entry: u16,
    },
}

impl Source {
    /// Whether the guest must say when it has served it.
    pub const fn needs_eoi(self) -> bool {
        matches!(self, Self::Gsi { trigger, .. } if trigger.level)
    }
}

/// Where a physical interrupt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Unused.
    Free,
    /// Given to a domain that will say later what for.
    Reserved {
        /// The domain.
        owner: DomId,
    },
    /// Known, but masked.
    Mapped {
        /// Whose.
        owner: DomId,
        /// What it stands for.
        source: Source,
    },
    /// Raises a port.
    Bound {
        /// Whose.
        owner: DomId,
        /// What it stands for.
        source: Source,
        /// The port of the owner's.
        port: Port,
        /// Whether it is masked until the owner's `eoi`.
        in_service: bool,
    },
}

impl Line {
    /// Reserves it for `owner`.
    ///
    /// # Errors
    /// [`PortError::AlreadyBound`] unless it is free.
    pub fn reserve(self, owner: DomId) -> Result<Self, PortError> {
        match self {
            Self::Free => Ok(Self::Reserved { owner }),
            _ => Err(PortError::AlreadyBound),
        }
    }

    /// Says what it stands for. Saying the same again changes nothing.
    ///
    /// # Errors
    /// [`PortError::AlreadyBound`] when it stands for something else or belongs to another.
    pub fn map(self, owner: DomId, source: Source) -> Result<Self, PortError> {
        match self {
            Self::Free => Ok(Self::Mapped { owner, source }),
            Self::Reserved { owner: has } if has == owner => Ok(Self::Mapped { owner, source }),
            _ if self.is_mapped_as(owner, source) => Ok(self),
            _ => Err(PortError::AlreadyBound),
        }
    }

    /// Whether it stands for `source` and belongs to `owner`. A pin is the same pin however it is
    /// triggered.
    pub fn is_mapped_as(self, owner: DomId, source: Source) -> bool {
        let (has_owner, has) = match self {
            Self::Mapped { owner, source } | Self::Bound { owner, source, .. } => (owner, source),
            Self::Free | Self::Reserved { .. } => return false,
        };
        let same = match (has, source) {
            (Source::Gsi { gsi: a, .. }, Source::Gsi { gsi: b, .. }) => a == b,
            (a, b) => a == b,
        };
        same && has_owner == owner
    }

    /// Changes how its pin is triggered, while it is not bound.
    #[must_use]
    pub fn with_trigger(self, trigger: Trigger) -> Self {
        match self {
            Self::Mapped {
                owner,
                source: Source::Gsi { gsi, .. },
            } => Self::Mapped {
                owner,
                source: Source::Gsi { gsi, trigger },
            },
            other => other,
        }
    }

    /// Binds it to a port of its owner; what must now be let through.
    ///
    /// # Errors
    /// [`PortError::BadSource`] unless it is mapped for `owner`; [`PortError::AlreadyBound`].
    pub fn bind(self, owner: DomId, port: Port) -> Result<Self, PortError> {
        match self {
            Self::Mapped { owner: has, source } if has == owner => Ok(Self::Bound {
                owner,
                source,
                port,
                in_service: false,
            }),
            Self::Bound { owner: has, .. } if has == owner => Err(PortError::AlreadyBound),
            _ => Err(PortError::BadSource),
        }
    }

    /// Its port is closed.
    #[must_use]
    pub fn unbind(self, by: DomId, of: Port) -> Self {
        match self {
            Self::Bound {
                owner,
                source,
                port,
                ..
            } if owner == by && port == of => Self::Mapped { owner, source },
            other => other,
        }
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`PortError::BadSource`] when it is not `owner`'s; [`PortError::AlreadyBound`] while it is
    /// bound.
    pub fn unmap(self, by: DomId) -> Result<Self, PortError> {
        match self {
            Self::Reserved { owner } | Self::Mapped { owner, .. } if owner == by => Ok(Self::Free),
            Self::Bound { owner, .. } if owner == by => Err(PortError::AlreadyBound),
            _ => Err(PortError::BadSource),
        }
    }

    /// It fires: the port to raise.
    #[must_use]
    pub fn fire(self) -> (Self, Option<(DomId, Port)>) {
        match self {
            Self::Bound {
                owner,
                source,
                port,
                ..
            } => {
                let in_service = source.needs_eoi();
                (
                    Self::Bound {
                        owner,
                        source,
                        port,
                        in_service,
                    },
                    Some((owner, port)),
                )
            }
            other => (other, None),
        }
    }

    /// Its owner has served it: whether it must be let through again.
    #[must_use]
    pub fn end(self, by: DomId) -> (Self, bool) {
        match self {
            Self::Bound {
                owner,
                source,
                port,
                in_service,
            } if owner == by => (
                Self::Bound {
                    owner,
                    source,
                    port,
                    in_service: false,
                },
                in_service,
            ),
            other => (other, false),
        }
    }

    /// What it stands for, for its owner.
    pub fn source(self, by: DomId) -> Option<Source> {
        match self {
            Self::Mapped { owner, source } | Self::Bound { owner, source, .. } if owner == by => {
                Some(source)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Source, Trigger};
    use crate::event::port::PortError;
    use guest_abi::ids::{DomId, Port};

    const OWNER: DomId = DomId::new(0);
    const OTHER: DomId = DomId::new(9);
    const PORT: Port = Port::new(5);

    fn pin(level: bool) -> Source {
        Source::Gsi {
            gsi: 16,
            trigger: Trigger {
                level,
                active_low: level,
            },
        }
    }

    fn bound(source: Source) -> Line {
        Line::Free
            .map(OWNER, source)
            .unwrap()
            .bind(OWNER, PORT)
            .unwrap()
    }

    #[test]
    fn a_level_line_is_masked_until_its_end() {
        let (line, port) = bound(pin(true)).fire();
        assert_eq!(port, Some((OWNER, PORT)));
        assert_eq!(line.end(OTHER), (line, false));
        let (line, unmask) = line.end(OWNER);
        assert!(unmask);
        assert_eq!(line.end(OWNER), (line, false));
    }

    #[test]
    fn an_edge_needs_no_end() {
        for source in [
            pin(false),
            Source::Message {
                table: 0xfe00_0000,
                entry: 1,
            },
        ] {
            let (line, _) = bound(source).fire();
            assert_eq!(line.end(OWNER), (line, false));
        }
    }

    #[test]
    fn only_its_owner_binds_and_unmaps_a_line() {
        let mapped = Line::Free.map(OWNER, pin(true)).unwrap();
        assert_eq!(mapped.bind(OTHER, PORT), Err(PortError::BadSource));
        assert_eq!(mapped.unmap(OTHER), Err(PortError::BadSource));
        assert_eq!(mapped.map(OTHER, pin(true)), Err(PortError::AlreadyBound));
        assert_eq!(mapped.map(OWNER, pin(false)), Ok(mapped));
        let bound = mapped.bind(OWNER, PORT).unwrap();
        assert_eq!(bound.unmap(OWNER), Err(PortError::AlreadyBound));
        assert_eq!(
            bound.bind(OWNER, Port::new(6)),
            Err(PortError::AlreadyBound)
        );
        assert_eq!(bound.unbind(OWNER, PORT).unmap(OWNER), Ok(Line::Free));
    }

    #[test]
    fn an_unbound_line_raises_nothing() {
        let mapped = Line::Free.map(OWNER, pin(true)).unwrap();
        assert_eq!(mapped.fire(), (mapped, None));
        assert_eq!(Line::Free.fire(), (Line::Free, None));
        let reserved = Line::Free.reserve(OWNER).unwrap();
        assert_eq!(reserved.reserve(OWNER), Err(PortError::AlreadyBound));
        assert!(reserved.map(OWNER, pin(true)).is_ok());
    }
}
