//! A device's two folders in the store.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt::{self, Display};
use core::str::FromStr;

use guest_abi::DomId;
use guest_abi::io::xenbus::XenbusState;

use crate::host::Host;
use crate::xenstore::{Caller, ClientId, Error};

/// A device as its backend sees it: its own nodes and the frontend's.
pub struct Device {
    host: Rc<dyn Host>,
    client: ClientId,
    domain: DomId,
    kind: &'static str,
    id: u32,
    back: String,
    front: String,
    /// What we last wrote to our `state`.
    state: Cell<XenbusState>,
    /// When the log may hear of it again.
    next_complaint: Cell<u64>,
}

/// Nanoseconds between two lines in the log about one device.
const PAUSE: u64 = 1_000_000_000;

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({self})")
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain {}: {} {}", self.domain, self.kind, self.id)
    }
}

impl Device {
    /// The device `id` of a kind (`vbd`, `vif`) of a domain. The toolstack has made its nodes.
    ///
    /// # Errors
    ///
    /// When the frontend's nodes can't be watched.
    pub fn open(
        host: Rc<dyn Host>,
        kind: &'static str,
        domain: DomId,
        id: u32,
    ) -> Result<Self, Error> {
        let back = Self::back_path(kind, domain, id);
        let front = Self::front_path(kind, domain, id);
        let client = host.store().borrow_mut().add_client(Caller::DOM0);
        let device = Self {
            host,
            client,
            domain,
            kind,
            id,
            state: Cell::new(XenbusState::Unknown),
            next_complaint: Cell::new(0),
            back,
            front,
        };
        device.state.set(XenbusState::parse(
            device
                .read(&format!("{}/state", device.back))
                .unwrap_or_default()
                .as_bytes(),
        ));
        let watched = format!("{}/state", device.front);
        device
            .host
            .store()
            .borrow_mut()
            .watch(client, &watched, b"")?;
        Ok(device)
    }

    /// The folder of a device's backend.
    #[must_use]
    pub fn back_path(kind: &str, domain: DomId, id: u32) -> String {
        format!("/local/domain/0/backend/{kind}/{domain}/{id}")
    }

    /// The folder of a device's frontend.
    #[must_use]
    pub fn front_path(kind: &str, domain: DomId, id: u32) -> String {
        format!("/local/domain/{domain}/device/{kind}/{id}")
    }

    /// The host this runs on.
    #[must_use]
    pub fn host(&self) -> &Rc<dyn Host> {
        &self.host
    }

    /// Whose device it is.
    #[must_use]
    pub fn domain(&self) -> DomId {
        self.domain
    }

    /// Its number among the domain's devices of its kind.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    fn read(&self, path: &str) -> Option<String> {
        let mut store = self.host.store().borrow_mut();
        store.atomically(self.client, |local| local.read(path)).ok()
    }

    /// A node of the frontend: anything at all, the guest writes it.
    #[must_use]
    pub fn front(&self, key: &str) -> Option<String> {
        self.read(&format!("{}/{key}", self.front))
    }

    /// A node of the frontend that is a number or the like; `None` when it is missing or isn't.
    #[must_use]
    pub fn front_value<T: FromStr>(&self, key: &str) -> Option<T> {
        self.front(key)?.trim().parse().ok()
    }

    /// A flag of the frontend: its node is "1".
    #[must_use]
    pub fn front_flag(&self, key: &str) -> bool {
        self.front_value(key) == Some(1)
    }

    /// A node of ours: what the toolstack has configured.
    #[must_use]
    pub fn back(&self, key: &str) -> Option<String> {
        self.read(&format!("{}/{key}", self.back))
    }

    /// Sets nodes of ours, all at once. The frontend may read them, as the folder's permissions
    /// say.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn write(&self, nodes: &[(&str, &dyn Display)]) -> Result<(), Error> {
        let paths: Vec<String> = nodes
            .iter()
            .map(|(key, _)| format!("{}/{key}", self.back))
            .collect();
        let mut store = self.host.store().borrow_mut();
        store.atomically(self.client, |local| {
            paths
                .iter()
                .zip(nodes)
                .try_for_each(|(path, (_, value))| local.write(path, value))
        })
    }

    /// The state we are in.
    #[must_use]
    pub fn state(&self) -> XenbusState {
        self.state.get()
    }

    /// Goes to another state.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn switch(&self, state: XenbusState) -> Result<(), Error> {
        if self.state.replace(state) == state {
            return Ok(());
        }
        self.write(&[("state", &state.digit())])
    }

    /// The state the frontend says it is in; `Unknown` when its nodes are gone.
    #[must_use]
    pub fn front_state(&self) -> XenbusState {
        let state = self.front("state").unwrap_or_default();
        XenbusState::parse(state.as_bytes())
    }

    /// Whether the log may hear of this device now: a frontend that is refused over and over
    /// shall not fill it.
    pub(super) fn may_complain(&self) -> bool {
        let now = self.host.now();
        let may = now >= self.next_complaint.get();
        if may {
            self.next_complaint.set(now.saturating_add(PAUSE));
        }
        may
    }

    /// Waits until the frontend may have changed its state. Nothing is lost between two calls.
    pub async fn front_changed(&self) {
        let event = core::future::poll_fn(|context| {
            let mut store = self.host.store().borrow_mut();
            store.poll_event(self.client, context)
        });
        event.await;
        // Several changes are one.
        while self
            .host
            .store()
            .borrow_mut()
            .next_event(self.client)
            .is_some()
        {}
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.host.store().borrow_mut().remove_client(self.client);
    }
}
