//! One ring of one domain: its page and its event channel.

use alloc::{boxed::Box, rc::Rc};
use core::fmt;

use backends::host::SharedPage;
use guest_abi::{DomId, Errno, Mfn, Port};

use crate::{
    executor::{EventPort, Runtime},
    hypervisor::{ForeignMemory, Hypervisor},
};

/// A domain's page, as backends want it.
pub(super) struct RingPage(Box<dyn ForeignMemory>);

impl fmt::Debug for RingPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RingPage").finish_non_exhaustive()
    }
}

impl SharedPage for RingPage {
    fn load_u32(&self, offset: usize) -> u32 {
        self.0.load_u32(offset)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.0.store_u32(offset, value);
    }

    fn copy_from(&self, offset: usize, into: &mut [u8]) {
        self.0.read(offset, into);
    }

    fn copy_to(&self, offset: usize, from: &[u8]) {
        self.0.write(offset, from);
    }
}

/// dom0's end of a ring's event channel; closed when dropped.
pub(super) struct Channel {
    hypervisor: Rc<dyn Hypervisor>,
    events: EventPort,
}

impl Channel {
    /// Maps the page and binds the channel of a ring that `domain` shares.
    pub(super) fn open(
        hypervisor: &Rc<dyn Hypervisor>,
        runtime: &Runtime,
        domain: DomId,
        frame: Mfn,
        port: Port,
    ) -> Result<(RingPage, Self), Errno> {
        let page = hypervisor
            .map(domain, &[frame])
            .map_err(|error| error.errno)?;
        let local = hypervisor.bind_interdomain(domain, port)?;
        // Nothing can fire between these lines: events are taken between tasks.
        let events = runtime.listen(local);
        Ok((
            RingPage(page),
            Self {
                hypervisor: hypervisor.clone(),
                events,
            },
        ))
    }

    /// The events of the channel.
    pub(super) fn events(&self) -> &EventPort {
        &self.events
    }

    /// Wakes the domain.
    pub(super) fn notify(&self) {
        self.hypervisor.notify(self.events.port());
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.hypervisor.close(self.events.port());
    }
}
