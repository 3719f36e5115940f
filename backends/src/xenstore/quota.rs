//! How much of the store one domain may use. dom0 is exempt: its services are ours.

use super::Error;
use guest_abi::io::xs_wire::PAYLOAD_MAX;

/// The limits, per domain. Those of stock Xen are the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Nodes owned.
    pub nodes: u32,
    /// Watches set.
    pub watches: usize,
    /// Bytes in one value.
    pub value_bytes: usize,
    /// Transactions open at a time.
    pub transactions: usize,
    /// Different nodes touched, and changes made, in one transaction.
    pub transaction_steps: usize,
    /// Bytes of watch events waiting to be read; beyond, events are folded together.
    pub event_bytes: usize,
}

impl Quota {
    /// The limits of an ordinary domain.
    pub const GUEST: Self = Self {
        nodes: 1000,
        watches: 128,
        value_bytes: 2048,
        transactions: 10,
        transaction_steps: 1024,
        event_bytes: 32 * 1024,
    };

    /// What the wire can carry, and memory otherwise.
    pub const DOM0: Self = Self {
        nodes: u32::MAX,
        watches: usize::MAX,
        value_bytes: PAYLOAD_MAX,
        transactions: usize::MAX,
        transaction_steps: usize::MAX,
        event_bytes: 1 << 20,
    };
}

/// Refuses when `used` has reached `limit`.
pub(super) fn room<T: PartialOrd>(used: T, limit: T) -> Result<(), Error> {
    if used < limit {
        Ok(())
    } else {
        Err(Error::NoSpace)
    }
}
