//! A disk: an open target and what the guest may do with it.

use alloc::format;
use alloc::rc::Rc;
use core::fmt;

use backends::blkback::{Blkback, Options};
use backends::host::SECTOR_SIZE;
use backends::xenbus::{Control, Device, End};
use backends::xenstore::Error;

use super::DeviceError;
use crate::config::DiskSpec;
use crate::storage::{Mode, OpenDisk, Storage};

/// A disk that is open for a guest.
pub(crate) struct Vbd {
    pub(super) spec: DiskSpec,
    disk: OpenDisk,
}

impl fmt::Debug for Vbd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vbd")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Vbd {
    /// Opens a disk for a domain of this name.
    pub(super) async fn open(
        storage: &Storage,
        spec: DiskSpec,
        name: &str,
    ) -> Result<Self, DeviceError> {
        let holder = format!("domain {name}");
        let mode = if spec.read_only {
            Mode::ReadOnly
        } else {
            Mode::ReadWrite
        };
        let wrong =
            |text: &dyn fmt::Display| DeviceError::new(&format_args!("disk {}", spec.vdev), text);
        let opened = storage.open(&spec.target, mode, &holder).await;
        let disk = opened.map_err(|error| wrong(&error))?;
        let unit = u64::from(disk.geometry().sector_size) / SECTOR_SIZE as u64;
        if disk.geometry().sectors < unit.max(1) {
            return Err(wrong(&format_args!(
                "{} is too small: it has no whole sector; make it bigger",
                spec.target
            )));
        }
        Ok(Self { spec, disk })
    }

    /// Serves the frontend with a backend of its own.
    pub(super) async fn run(&self, device: &Device, control: &Control) -> Result<End, Error> {
        let options = Options {
            read_only: self.spec.read_only,
            cdrom: self.spec.cdrom,
            removable: self.spec.cdrom,
            discard: self.spec.discard,
            ..Options::default()
        };
        let backend = Blkback::new(Rc::clone(&self.disk), options);
        backends::xenbus::run(device, &backend, control).await
    }
}
