//! Consequences as values: what a handler found out must happen, applied on the way out.

use core::fmt;

use guest_abi::frame::GuestVirtAddr;

use crate::cpu::CpuMask;

/// Translations that must go before the guest may rely on the new ones.
#[must_use = "a flush that nobody applies leaves stale translations behind"]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flush {
    /// Nothing to do.
    #[default]
    None,
    /// One page on these CPUs.
    Page(CpuMask, GuestVirtAddr),
    /// All guest translations of these CPUs.
    All(CpuMask),
}

impl Flush {
    /// Both, in one.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, one) | (one, Self::None) => one,
            (Self::Page(a, va), Self::Page(b, vb)) if va == vb => Self::Page(a.or(b), va),
            (a, b) => Self::All(a.cpus().or(b.cpus())),
        }
    }

    /// The CPUs concerned.
    pub const fn cpus(self) -> CpuMask {
        match self {
            Self::None => CpuMask::EMPTY,
            Self::Page(cpus, _) | Self::All(cpus) => cpus,
        }
    }
}

/// Why a domain is ended on the spot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashReason {
    /// A fault for which the guest has registered no handler.
    UnhandledException {
        /// The exception's vector.
        vector: u8,
        /// The faulting instruction.
        rip: u64,
        /// The faulting address, for page faults.
        address: u64,
    },
    /// The frame of an exception or event could not be written to the guest kernel's stack.
    BadStack {
        /// Where the frame was to go.
        rsp: u64,
    },
    /// A return to user mode without user page tables.
    NoUserTables,
    /// The frame of an `iret` hypercall could not be read.
    BadIret {
        /// Where the frame was to be.
        rsp: u64,
    },
    /// The core could not put the guest's own register state back.
    BadState(&'static str),
}

impl fmt::Display for CrashReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnhandledException {
                vector,
                rip,
                address,
            } => {
                write!(
                    f,
                    "exception {vector} at {rip:#x} (address {address:#x}) with no handler"
                )
            }
            Self::BadStack { rsp } => write!(f, "kernel stack {rsp:#x} cannot take a frame"),
            Self::NoUserTables => f.write_str("return to user mode without user page tables"),
            Self::BadIret { rsp } => write!(f, "iret frame at {rsp:#x} cannot be read"),
            Self::BadState(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Flush;
    use crate::cpu::CpuMask;
    use guest_abi::frame::GuestVirtAddr;

    #[test]
    fn two_pages_flush_as_everything() {
        let cpus = CpuMask::from_bits(1);
        let a = Flush::Page(cpus, GuestVirtAddr::new(0x1000));
        let b = Flush::Page(CpuMask::from_bits(2), GuestVirtAddr::new(0x2000));
        assert_eq!(a.and(b), Flush::All(CpuMask::from_bits(3)));
        assert_eq!(Flush::None.and(a), a);
    }
}
