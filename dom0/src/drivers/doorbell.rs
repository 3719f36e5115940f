//! The register by which a virtio device is told of a queue.
//!
//! The crate's transport finds it anew each time, by two more registers; each access of a register
//! takes an emulated device longer than all the rest of a request.

use core::sync::atomic::Ordering;

use frontends::window::Mapping;
use guest_abi::{Errno, MachAddr};

/// One queue's register.
#[derive(Debug)]
pub struct Doorbell {
    registers: Mapping,
    offset: usize,
    queue: u16,
}

impl Doorbell {
    /// Maps the register at `start`.
    ///
    /// # Errors
    /// The hypervisor's refusal; `EINVAL` if it is not aligned.
    pub(super) fn map(start: MachAddr, queue: u16) -> Result<Self, Errno> {
        let offset = start.page_offset();
        if !offset.is_multiple_of(2) {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            registers: Mapping::device(start, 2).map_err(|error| error.errno)?,
            offset,
            queue,
        })
    }

    /// Tells the device that something is on the queue.
    pub fn ring(&self) {
        // Stores are not reordered on this machine: what is on the queue is visible before.
        self.registers
            .u16(self.offset)
            .store(self.queue, Ordering::Release);
    }
}
