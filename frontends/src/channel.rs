//! An event channel to a backend, closed when it is dropped.

use guest_abi::{DomId, Errno, Port, VcpuId};

use crate::events;

/// This end of an event channel that a backend binds.
#[derive(Debug)]
pub struct Channel(Port);

impl Channel {
    /// Opens a port that `remote` may bind; vCPU 0 reports it.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn open(remote: DomId) -> Result<Self, Errno> {
        events::alloc_unbound(remote).map(Self)
    }

    /// The port, which the backend is told in xenstore.
    #[must_use]
    pub fn port(&self) -> Port {
        self.0
    }

    /// Tells the other end to look at the ring.
    pub fn notify(&self) {
        // It may not have bound the port yet, or no longer; it looks when it connects.
        let _ = events::send(self.0);
    }

    /// Sleeps until the other end has sent an event.
    pub fn wait(&self) {
        events::wait_for(VcpuId::new(0), self.0);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // Our own port: closing it cannot fail.
        let _ = events::close(self.0);
    }
}
