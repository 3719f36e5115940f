//! A device's two folders in the store, and the handshake between its two ends.
//!
//! Each end has a `state` node that it alone writes:
//!
//! 1. The toolstack makes both folders; both ends are Initialising.
//! 2. The backend writes what it can do, then InitWait.
//! 3. The frontend writes its rings, then Initialised (or Connected at once, for networks).
//! 4. The backend maps them and is Connected; so is the frontend.
//! 5. Either end goes to Closing; the frontend lets go of its rings and is Closed, the backend
//!    follows. A frontend that is Initialising again starts anew at 2.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::str::FromStr;

use guest_abi::{DomId, io::xenbus::XenbusState};

use super::{DeviceError, Store, StoreError};

/// What a connected device's backend wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// To go on.
    Serving,
    /// To close: the device is being unplugged, or the backend had enough of us.
    CloseAsked,
    /// To start anew: another backend has taken the place of the one we were connected to.
    Restarted,
}

/// A device, seen from its frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    front: String,
    back: String,
    back_domain: DomId,
}

impl Device {
    /// The numbers of the devices of a kind (`vbd`, `vif`) that this domain has.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn list(store: &mut impl Store, kind: &str) -> Result<Vec<u32>, StoreError> {
        let names = store.children(&format!("device/{kind}"))?;
        let mut ids: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// A device of this domain; its backend's state is watched from now on.
    ///
    /// # Errors
    ///
    /// When its nodes are missing.
    pub fn open(store: &mut impl Store, kind: &str, id: u32) -> Result<Self, DeviceError> {
        let front = format!("device/{kind}/{id}");
        let back = store.get(&format!("{front}/backend"))?;
        let domain = store.get(&format!("{front}/backend-id"))?;
        let domain = domain.and_then(|text| text.parse().ok());
        let device = Self {
            front,
            back: back.ok_or(DeviceError::Missing("backend"))?,
            back_domain: DomId::new(domain.ok_or(DeviceError::Missing("backend-id"))?),
        };
        store.begin_watch(&device.back_node("state"), &device.front)?;
        Ok(device)
    }

    /// Ends the watch: the device is of no more interest.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn forget(self, store: &mut impl Store) -> Result<(), StoreError> {
        store.end_watch(&self.back_node("state"), &self.front)
    }

    /// The domain that serves the device.
    #[must_use]
    pub fn back_domain(&self) -> DomId {
        self.back_domain
    }

    /// The token under which watch events of the backend's state arrive: the frontend's folder.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.front
    }

    fn back_node(&self, key: &str) -> String {
        format!("{}/{key}", self.back)
    }

    fn front_node(&self, key: &str) -> String {
        format!("{}/{key}", self.front)
    }

    /// A node of ours, as the toolstack has set it.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn front(&self, store: &mut impl Store, key: &str) -> Result<Option<String>, StoreError> {
        store.get(&self.front_node(key))
    }

    /// A node of the backend that is a number; `None` when it is missing or isn't.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn back<T: FromStr>(
        &self,
        store: &mut impl Store,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        let value = store.get(&self.back_node(key))?;
        Ok(value.and_then(|text| text.trim().parse().ok()))
    }

    /// A node of the backend that must be a number.
    ///
    /// # Errors
    ///
    /// When it isn't.
    pub fn back_must<T: FromStr>(
        &self,
        store: &mut impl Store,
        key: &'static str,
    ) -> Result<T, DeviceError> {
        self.back(store, key)?.ok_or(DeviceError::Missing(key))
    }

    /// A flag of the backend: its node is a number other than 0.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn back_flag(&self, store: &mut impl Store, key: &str) -> Result<bool, StoreError> {
        Ok(self.back::<u32>(store, key)?.is_some_and(|value| value > 0))
    }

    /// Where the backend stands; `Unknown` when it is gone.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn back_state(&self, store: &mut impl Store) -> Result<XenbusState, StoreError> {
        let state = store.get(&self.back_node("state"))?;
        Ok(XenbusState::parse(state.unwrap_or_default().as_bytes()))
    }

    /// Where this end stands.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn front_state(&self, store: &mut impl Store) -> Result<XenbusState, StoreError> {
        let state = self.front(store, "state")?;
        Ok(XenbusState::parse(state.unwrap_or_default().as_bytes()))
    }

    /// Writes nodes of ours and the state that goes with them, all at once.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn publish(
        &self,
        store: &mut impl Store,
        nodes: &[(String, String)],
        state: XenbusState,
    ) -> Result<(), StoreError> {
        let mut all: Vec<_> = nodes
            .iter()
            .map(|(key, value)| (self.front_node(key), value.clone()))
            .collect();
        all.push((self.front_node("state"), state.digit().to_string()));
        store.set(&all)
    }

    /// Goes to another state.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn switch(&self, store: &mut impl Store, state: XenbusState) -> Result<(), StoreError> {
        self.publish(store, &[], state)
    }

    /// Waits until the backend is in a state that is wanted.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    fn wait(
        &self,
        store: &mut impl Store,
        wanted: impl Fn(XenbusState) -> bool,
    ) -> Result<XenbusState, StoreError> {
        loop {
            // Events up to here are answered by the look that follows.
            store.has_fired(&self.front);
            let state = self.back_state(store)?;
            if wanted(state) {
                return Ok(state);
            }
            store.wait(&self.front);
        }
    }

    /// Waits for the backend's offer; starts anew if the device was closed before.
    ///
    /// # Errors
    ///
    /// When there is no backend, or it closes.
    pub fn wait_for_offer(&self, store: &mut impl Store) -> Result<(), DeviceError> {
        if self.front_state(store)? != XenbusState::Initialising {
            self.switch(store, XenbusState::Initialising)?;
        }
        // A backend that is closed, or closing, starts again when it sees us Initialising.
        let state = self.wait(store, |state| {
            matches!(state, XenbusState::InitWait | XenbusState::Unknown)
        })?;
        match state {
            XenbusState::InitWait => Ok(()),
            _ => Err(self.closed(store)),
        }
    }

    /// Waits until the backend has connected to the rings.
    ///
    /// # Errors
    ///
    /// When it closes instead.
    pub fn wait_for_connection(&self, store: &mut impl Store) -> Result<(), DeviceError> {
        let state = self.wait(store, |state| {
            !matches!(state, XenbusState::InitWait | XenbusState::Initialised)
        })?;
        match state {
            XenbusState::Connected => Ok(()),
            _ => Err(self.closed(store)),
        }
    }

    /// The error of a backend that has closed, with the reason that it gives.
    fn closed(&self, store: &mut impl Store) -> DeviceError {
        let reason = store.get(&self.back_node("error"));
        DeviceError::Closed(reason.ok().flatten().unwrap_or_default())
    }

    /// What the backend of a connected device wants, by its state.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn life(&self, store: &mut impl Store) -> Result<Life, StoreError> {
        store.has_fired(&self.front);
        Ok(match self.back_state(store)? {
            XenbusState::Initialising | XenbusState::InitWait => Life::Restarted,
            XenbusState::Closing | XenbusState::Closed | XenbusState::Unknown => Life::CloseAsked,
            _ => Life::Serving,
        })
    }

    /// The first half of closing: on return the backend has let go of the rings.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn begin_close(&self, store: &mut impl Store) -> Result<(), StoreError> {
        self.switch(store, XenbusState::Closing)?;
        let gone = |state| !matches!(state, XenbusState::Connected | XenbusState::Initialised);
        self.wait(store, gone).map(drop)
    }

    /// The second half, when the rings are gone.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn end_close(&self, store: &mut impl Store) -> Result<(), StoreError> {
        // The folder may be gone already, with the device: it must not come to life again.
        if self.front(store, "backend")?.is_none() {
            return Ok(());
        }
        self.switch(store, XenbusState::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::store::fake::FakeStore, *};

    const STATE: &str = "/b/state";

    fn store() -> FakeStore {
        FakeStore::new(&[
            ("device/vbd/51712/backend", "/b"),
            ("device/vbd/51712/backend-id", "3"),
            ("device/vbd/51712/state", "1"),
            ("device/vbd/768/state", "1"),
            (STATE, "1"),
        ])
    }

    fn device(store: &mut FakeStore) -> Device {
        Device::open(store, "vbd", 51712).unwrap()
    }

    #[test]
    fn devices_are_found_by_their_folders() {
        let mut store = store();
        assert_eq!(Device::list(&mut store, "vbd"), Ok(vec![768, 51712]));
        assert_eq!(Device::list(&mut store, "vif"), Ok(vec![]));
        assert_eq!(device(&mut store).back_domain(), DomId::new(3));
        let missing = Device::open(&mut store, "vbd", 768);
        assert_eq!(missing, Err(DeviceError::Missing("backend")));
    }

    #[test]
    fn the_offer_comes_after_the_backend_has_started() {
        let mut store = store();
        let device = device(&mut store);
        store.script.push_back(vec![(STATE, "2")]);
        assert_eq!(device.wait_for_offer(&mut store), Ok(()));
        store.script.push_back(vec![(STATE, "4")]);
        let nodes = [("ring-ref".to_string(), "8".to_string())];
        device
            .publish(&mut store, &nodes, XenbusState::Initialised)
            .unwrap();
        assert_eq!(device.wait_for_connection(&mut store), Ok(()));
        assert_eq!(store.nodes["device/vbd/51712/ring-ref"], "8");
        assert_eq!(device.front_state(&mut store), Ok(XenbusState::Initialised));
    }

    #[test]
    fn a_refused_connection_gives_the_backends_reason() {
        let mut store = store();
        let device = device(&mut store);
        store
            .script
            .push_back(vec![("/b/error", "bad ring"), (STATE, "5")]);
        store.write(&[(STATE, "2")]);
        let refused = device.wait_for_connection(&mut store);
        assert_eq!(refused, Err(DeviceError::Closed("bad ring".into())));
    }

    #[test]
    fn a_closed_device_can_be_opened_again() {
        let mut store = store();
        let device = device(&mut store);
        store.write(&[(STATE, "6"), ("device/vbd/51712/state", "6")]);
        store.script.push_back(vec![(STATE, "2")]);
        assert_eq!(device.wait_for_offer(&mut store), Ok(()));
        assert_eq!(
            device.front_state(&mut store),
            Ok(XenbusState::Initialising)
        );
    }

    #[test]
    fn the_backends_state_tells_what_it_wants() {
        let mut store = store();
        let device = device(&mut store);
        for (state, life) in [
            ("2", Life::Restarted),
            ("4", Life::Serving),
            ("5", Life::CloseAsked),
            ("6", Life::CloseAsked),
            ("x", Life::CloseAsked),
        ] {
            store.write(&[(STATE, state)]);
            assert_eq!(device.life(&mut store), Ok(life));
        }
    }

    #[test]
    fn the_rings_are_free_once_the_backend_is_closing() {
        let mut store = store();
        let device = device(&mut store);
        store.write(&[(STATE, "4")]);
        store.script.push_back(vec![(STATE, "5")]);
        device.begin_close(&mut store).unwrap();
        device.end_close(&mut store).unwrap();
        assert_eq!(device.front_state(&mut store), Ok(XenbusState::Closed));
    }
}
