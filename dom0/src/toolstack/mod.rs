//! The toolstack: which domains there are, what serves them, and what becomes of them.
//!
//! A [`Guest`] is a domain this toolstack made: its configuration, its console, its connection
//! to the store. Making one, ending one and looking after them are in files of their own; the
//! verbs of `xl` sit on top and only ask and print.
//!
//! The rule kept: whatever is done for a domain is undone in one place (`destroy`), whoever
//! asks for it and however far its creation had come.

mod create;
mod destroy;
mod devices;
mod guest;
mod images;
mod memory;
mod nodes;
mod services;
mod supervise;
#[cfg(test)]
pub(crate) mod tests;

pub use backends::signal::Signal;
pub use create::CreateError;
pub use devices::{DetachError, DeviceError, Kind, Plugged};
pub use guest::{Guest, Phase};
pub use images::Images;
pub use memory::MemoryError;
pub use supervise::shutdown_reason;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::{Rc, Weak};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;

use backends::host::Host;
use backends::xenstore::Store;
use guest_abi::DomId;
use guest_abi::version::DomainHandle;

use crate::devices::Devices;
use crate::executor::Runtime;
use crate::hypervisor::Hypervisor;
use crate::storage::Storage;
use devices::{Bridges, Macs};

/// dom0's own name.
pub const DOM0_NAME: &str = "Domain-0";

/// The toolstack of a host.
pub struct Toolstack {
    hypervisor: Rc<dyn Hypervisor>,
    runtime: Runtime,
    host: Rc<dyn Host>,
    devices: Rc<Devices>,
    storage: Rc<Storage>,
    macs: Macs,
    bridges: Bridges,
    guests: RefCell<BTreeMap<DomId, Rc<Guest>>>,
    /// Names of domains on their way.
    reserved: RefCell<BTreeSet<String>>,
    images: RefCell<Vec<Weak<Vec<u8>>>>,
    /// A domain came, ended or went.
    changed: Signal,
    randomness: Cell<u64>,
}

impl fmt::Debug for Toolstack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Toolstack")
            .field("guests", &self.guests.borrow().len())
            .finish()
    }
}

impl Toolstack {
    /// A toolstack that has nothing in the host's store yet but what belongs to the host itself.
    #[must_use]
    pub fn new(
        hypervisor: Rc<dyn Hypervisor>,
        runtime: &Runtime,
        host: Rc<dyn Host>,
        devices: Rc<Devices>,
    ) -> Rc<Self> {
        if let Err(error) = nodes::host(&mut host.store().borrow_mut()) {
            log::error!("the host's own xenstore nodes: {error}");
        }
        Rc::new(Self {
            hypervisor,
            runtime: runtime.clone(),
            storage: Storage::new(runtime, host.clone(), devices.clone()),
            macs: Macs::default(),
            bridges: Bridges::new(runtime, host.clone(), devices.clone()),
            host,
            devices,
            guests: RefCell::default(),
            reserved: RefCell::default(),
            images: RefCell::default(),
            changed: Signal::default(),
            randomness: Cell::new(0),
        })
    }

    /// The hypervisor below.
    #[must_use]
    pub fn hypervisor(&self) -> &dyn Hypervisor {
        &*self.hypervisor
    }

    /// The executor all of this runs on.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What backends ask for their grants, channels and time.
    #[must_use]
    pub fn host(&self) -> &Rc<dyn Host> {
        &self.host
    }

    /// The host's physical disks and network cards.
    #[must_use]
    pub fn devices(&self) -> &Rc<Devices> {
        &self.devices
    }

    /// The disks that guests and dom0 can open.
    #[must_use]
    pub fn storage(&self) -> &Rc<Storage> {
        &self.storage
    }

    fn store(&self) -> &RefCell<Store> {
        self.host.store()
    }

    /// Works on the store.
    pub fn with_store<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut self.store().borrow_mut())
    }

    /// A domain this toolstack made.
    #[must_use]
    pub fn guest(&self, domain: DomId) -> Option<Rc<Guest>> {
        self.guests.borrow().get(&domain).cloned()
    }

    /// All domains this toolstack made, by number.
    #[must_use]
    pub fn guests(&self) -> Vec<Rc<Guest>> {
        self.guests.borrow().values().cloned().collect()
    }

    /// The name of a domain, if it has one.
    #[must_use]
    pub fn name(&self, domain: DomId) -> Option<String> {
        if domain == DomId::DOM0 {
            return Some(DOM0_NAME.to_string());
        }
        self.guest(domain).map(|guest| guest.name())
    }

    /// The domain a user means: by name, or by number if there is such a domain.
    #[must_use]
    pub fn find(&self, word: &str) -> Option<DomId> {
        if word == DOM0_NAME {
            return Some(DomId::DOM0);
        }
        let named = self.guests().into_iter().find(|guest| guest.name() == word);
        if let Some(guest) = named {
            return Some(guest.domain());
        }
        let domain = DomId::new(word.parse().ok()?);
        let exists = domain == DomId::DOM0 || self.hypervisor.domain(domain).is_ok();
        exists.then_some(domain)
    }

    /// All names, for completion.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let guests = self.guests();
        let names = guests.iter().map(|guest| guest.name());
        core::iter::once(DOM0_NAME.to_string())
            .chain(names)
            .collect()
    }

    /// Waits until `done` says so; it is asked again whenever a domain came, ended or went.
    pub async fn wait_until(&self, mut done: impl FnMut() -> bool) {
        loop {
            let seen = self.changed.count();
            if done() {
                return;
            }
            self.changed.after(seen).await;
        }
    }

    /// A UUID nobody has: random enough to be told apart, and no secret.
    fn new_uuid(&self) -> DomainHandle {
        let mut uuid = DomainHandle::default();
        let mut state = self.randomness.get() ^ self.runtime.now().as_nanos();
        for chunk in uuid.chunks_mut(8) {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes());
        }
        self.randomness.set(state);
        // Version 4, variant 1.
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        uuid
    }
}
