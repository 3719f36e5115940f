//! One domain of this toolstack.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;

use backends::console::{Chunk, Console, Cursor};
use backends::xenstore::StoreRing;
use guest_abi::sched::ShutdownReason;
use guest_abi::version::DomainHandle;
use guest_abi::{DomId, Port};

use super::services::RingPage;
use super::{Images, Kind, Plugged, Signal};
use crate::config::DomainConfig;
use crate::executor::{Instant, JoinHandle};

/// Where in its life a domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It runs, or could.
    Alive,
    /// It has ended by itself and is still there.
    Ended(ShutdownReason),
    /// It is being taken away, or gone.
    Gone,
}

/// A domain and all that serves it.
pub struct Guest {
    pub(super) domain: DomId,
    pub(super) name: RefCell<String>,
    pub(super) uuid: DomainHandle,
    pub(super) config: DomainConfig,
    pub(super) images: Images,
    pub(super) created: Instant,
    pub(super) phase: Cell<Phase>,
    pub(super) console: RefCell<Console<RingPage>>,
    pub(super) console_port: Port,
    /// Something was printed, or never will be again.
    pub(super) printed: Signal,
    /// Something was typed.
    pub(super) typed: Signal,
    pub(super) store_ring: RefCell<Option<StoreRing<RingPage>>>,
    pub(super) store_port: Port,
    pub(super) services: RefCell<Vec<JoinHandle<()>>>,
    /// What it is to hold, in KiB.
    pub(super) target_kib: Cell<u64>,
    /// The most it may ever hold, in KiB.
    pub(super) max_kib: Cell<u64>,
    pub(super) devices: RefCell<Vec<Rc<Plugged>>>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("domain", &self.domain)
            .field("name", &self.name.borrow())
            .field("phase", &self.phase.get())
            .finish_non_exhaustive()
    }
}

impl Guest {
    /// Its number.
    #[must_use]
    pub fn domain(&self) -> DomId {
        self.domain
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.borrow().clone()
    }

    /// Its UUID.
    #[must_use]
    pub fn uuid(&self) -> &DomainHandle {
        &self.uuid
    }

    /// How it was configured.
    #[must_use]
    pub fn config(&self) -> &DomainConfig {
        &self.config
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Instant {
        self.created
    }

    /// Where in its life it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Its disks and networks, in the order they were plugged in.
    #[must_use]
    pub fn devices(&self) -> Vec<Rc<Plugged>> {
        self.devices.borrow().clone()
    }

    /// One of them.
    #[must_use]
    pub fn device(&self, kind: Kind, id: u32) -> Option<Rc<Plugged>> {
        let devices = self.devices.borrow();
        let found = devices
            .iter()
            .find(|device| (device.kind(), device.id()) == (kind, id));
        found.cloned()
    }

    /// All it has printed, as far as it is kept, raw.
    #[must_use]
    pub fn console_log(&self) -> Vec<u8> {
        self.console.borrow().log().to_vec()
    }

    /// Types at its console; returns how many bytes were taken.
    pub fn type_in(&self, bytes: &[u8]) -> usize {
        let taken = self.console.borrow_mut().type_in(bytes);
        self.typed.notify();
        taken
    }

    /// What it printed behind `cursor`; waits for something if there is nothing. `None` when
    /// nothing will come any more.
    pub async fn printed(self: &Rc<Self>, cursor: &mut Cursor) -> Option<Vec<u8>> {
        loop {
            let seen = self.printed.count();
            {
                let console = self.console.borrow();
                match console.log().read(cursor) {
                    Chunk::Nothing if console.closed().is_some() => return None,
                    Chunk::Nothing => {}
                    chunk => return Some(chunk.to_bytes()),
                }
            }
            if self.phase.get() == Phase::Gone {
                return None;
            }
            self.printed.after(seen).await;
        }
    }
}
