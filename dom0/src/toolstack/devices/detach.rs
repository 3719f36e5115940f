//! Taking devices away: with the guest's consent, without it, or all of them at its end.
//!
//! In every case the backend first finishes what the real devices are doing for the guest, and
//! unmaps its pages; only then the nodes go. A domain that is destroyed waits for that, too.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use backends::xenbus::Device;
use guest_abi::io::xenbus::XenbusState;

use super::{Plugged, nodes};
use crate::toolstack::{Guest, Toolstack};

/// How long a guest may take to let go of a device.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a guest may take to notice a device at all: one without a driver never does.
const UNBORN: Duration = Duration::from_secs(3);
/// How often to look whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a guest may take to see that a device's nodes have gone. One that finds new nodes in
/// their place instead would take them for the old ones.
const SETTLE: Duration = Duration::from_millis(250);
/// How long real devices may take to finish.
const DRAIN: Duration = Duration::from_secs(30);

/// Why a device is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachError {
    /// The device as its user knows it.
    pub device: String,
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: the guest has not let go of it within {} s; it goes as soon as the guest does, \
             or at once with --force",
            self.device,
            PATIENCE.as_secs()
        )
    }
}

impl core::error::Error for DetachError {}

impl Toolstack {
    /// Asks a guest to let go of a device, and takes it away then.
    ///
    /// # Errors
    ///
    /// When the guest takes too long. The device goes when it does after all.
    pub async fn detach(
        self: &Rc<Self>,
        guest: &Rc<Guest>,
        device: &Rc<Plugged>,
    ) -> Result<(), DetachError> {
        let (kind, id) = (device.kind(), device.id());
        nodes::set_offline(&mut self.store().borrow_mut(), guest.domain, kind, id);
        self.await_frontend(guest, device).await;
        device.ask_to_close();
        let gone = self.runtime.timeout(PATIENCE, device.gone());
        gone.await.map_err(|_| DetachError {
            device: device.title(),
        })?;
        self.runtime.sleep(SETTLE).await;
        Ok(())
    }

    /// Waits until the guest has begun with a device, or probably never will.
    async fn await_frontend(&self, guest: &Guest, device: &Plugged) {
        let front = Device::front_path(device.kind().name(), guest.domain, device.id());
        let path = format!("{front}/state");
        let deadline = self.runtime.now() + UNBORN;
        while self.runtime.now() < deadline {
            let state = self.store().borrow_mut().get(&path).unwrap_or_default();
            if XenbusState::parse(state.as_bytes()) != XenbusState::Initialising {
                return;
            }
            self.runtime.sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes a device away, whatever the guest thinks of it.
    pub async fn detach_by_force(self: &Rc<Self>, guest: &Rc<Guest>, device: &Rc<Plugged>) {
        device.leave();
        let drained = self.runtime.timeout(DRAIN, device.gone()).await;
        if drained.is_err() {
            let (domain, title) = (guest.domain, device.title());
            log::error!("domain {domain}: {title}: requests are not done after {DRAIN:?}");
            // Whatever a real device still works on stays mapped until it is done.
            if let Some(task) = device.task.take() {
                task.abort();
            }
            self.unplug(guest, device);
        }
    }

    /// Takes all devices of a guest away. It must not run any more.
    pub(in crate::toolstack) async fn detach_all(self: &Rc<Self>, guest: &Rc<Guest>) {
        let devices = guest.devices();
        // All at once: each only waits for what is in flight.
        devices.iter().for_each(|device| device.leave());
        for device in &devices {
            self.detach_by_force(guest, device).await;
        }
    }
}
