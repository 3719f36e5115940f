//! Restarting backends under guests: the one that runs finishes what it has begun and lets go of
//! everything; another one, with fresh objects, goes on from the rings as it finds them.

use alloc::format;
use alloc::rc::Rc;
use core::time::Duration;

use super::{DeviceError, Plugged};
use crate::toolstack::Toolstack;

/// How long real devices may take to finish.
const PATIENCE: Duration = Duration::from_secs(30);

impl Toolstack {
    /// Puts a new backend into the place of a device's old one. The frontend is told nothing.
    ///
    /// # Errors
    ///
    /// When the old one doesn't end, or the device goes away meanwhile.
    pub async fn restart_backend(&self, device: &Rc<Plugged>) -> Result<(), DeviceError> {
        let instance = device.replace();
        let started = self
            .runtime
            .timeout(PATIENCE, device.started(instance))
            .await;
        match started {
            Ok(true) => Ok(()),
            Ok(false) => Err(DeviceError::new(&device.title(), "it has gone meanwhile")),
            Err(_) => Err(DeviceError::new(
                &device.title(),
                format!("the disk or card has not finished within {PATIENCE:?}"),
            )),
        }
    }
}
