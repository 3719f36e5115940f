//! What the virtio drivers have in common.

use core::fmt;

use guest_abi::Errno;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::pci::VirtioPciError;

use super::dma::DmaPage;
use super::ring::{MAX_SIZE, Ring};

/// Why a device cannot be used.
#[derive(Debug)]
pub enum Refused {
    /// By the hypervisor, or for want of memory.
    Errno(Errno),
    /// Its registers are not those of a virtio device.
    Registers(VirtioPciError),
    /// What it says of itself.
    Config(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => f.write_str(errno.name()),
            Self::Registers(error) => write!(f, "{error}"),
            Self::Config(reason) => f.write_str(reason),
        }
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<VirtioPciError> for Refused {
    fn from(error: VirtioPciError) -> Self {
        Self::Registers(error)
    }
}

impl From<&'static str> for Refused {
    fn from(reason: &'static str) -> Self {
        Self::Config(reason)
    }
}

/// How many descriptors a queue is to have: as many as wanted, if the device has them.
pub fn queue_size(transport: &mut impl Transport, queue: u16, wanted: u16) -> Option<u16> {
    let most = u16::try_from(transport.max_queue_size(queue)).unwrap_or(u16::MAX);
    let size = most.min(wanted).min(MAX_SIZE);
    (size > 0).then(|| 1 << size.ilog2())
}

/// Tells a device where a queue's rings are, and enables it.
pub fn set_up<M: DmaPage>(transport: &mut impl Transport, queue: u16, ring: &Ring<M>) {
    let at = ring.addresses();
    transport.queue_set(
        queue,
        ring.size().into(),
        at.descriptors,
        at.available,
        at.used,
    );
}
