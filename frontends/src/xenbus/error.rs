//! Why a device cannot be used.

use alloc::string::String;
use core::fmt;

use guest_abi::Errno;

use super::StoreError;

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// xenstore's refusal.
    Store(StoreError),
    /// The hypervisor's refusal of a page, grant or port.
    Hypervisor(Errno),
    /// A node that must be there is missing, or is no number.
    Missing(&'static str),
    /// The backend has closed, for the reason it gives, if any.
    Closed(String),
    /// The backend broke the protocol.
    Broken(&'static str),
}

impl DeviceError {
    /// Whether the device was only taken away while it was being connected: closed without a
    /// reason, or gone. Another may come in its place.
    #[must_use]
    pub fn is_unplugged(&self) -> bool {
        match self {
            Self::Closed(reason) => reason.is_empty(),
            Self::Missing(_) => true,
            Self::Store(StoreError::Refused(name)) => name == "ENOENT",
            Self::Store(_) | Self::Hypervisor(_) | Self::Broken(_) => false,
        }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "xenstore: {error}"),
            Self::Hypervisor(errno) => f.write_str(errno.name()),
            Self::Missing(node) => write!(f, "no valid {node} in xenstore"),
            Self::Closed(reason) if reason.is_empty() => f.write_str("closed by the backend"),
            Self::Closed(reason) => write!(f, "closed by the backend: {reason}"),
            Self::Broken(how) => write!(f, "the backend broke the protocol: {how}"),
        }
    }
}

impl core::error::Error for DeviceError {}

impl From<StoreError> for DeviceError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Errno> for DeviceError {
    fn from(errno: Errno) -> Self {
        Self::Hypervisor(errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_was_taken_away_is_told_from_one_that_was_refused() {
        assert!(DeviceError::Closed(String::new()).is_unplugged());
        assert!(DeviceError::Missing("backend").is_unplugged());
        assert!(DeviceError::Store(StoreError::Refused("ENOENT".into())).is_unplugged());
        assert!(!DeviceError::Closed("transmit ring: nonsense".into()).is_unplugged());
        assert!(!DeviceError::Store(StoreError::Refused("EACCES".into())).is_unplugged());
    }
}
