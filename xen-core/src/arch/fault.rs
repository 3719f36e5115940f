//! A guest's address that does not work.

use guest_abi::errno::Errno;

/// The guest could not have done this access itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

impl From<Fault> for Errno {
    fn from(_: Fault) -> Self {
        Self::EFAULT
    }
}
