//! A guest's disks and networks: what they are made of, their nodes, and what serves them.
//!
//! ```text
//!  specification ─ prepare ─▶ Resource ─ plug ─▶ Plugged ─ detach, or the guest's end ─▶ nothing
//!                  opens the disk,       writes the nodes,
//!                  leases the MAC,       starts a task that
//!                  finds the bridge      serves the frontend
//! ```
//!
//! A [`Resource`] owns all that a device needs of the host and gives it back when it is dropped,
//! so whatever fails on the way leaves nothing. It moves into the task of the [`Plugged`] device:
//! when that ends, nothing maps the guest's pages for it any more, and its nodes go.

mod bridges;
mod detach;
mod mac;
mod nodes;
mod plug;
mod plugged;
mod restart;
#[cfg(test)]
mod tests;
mod vbd;
mod vif;

pub use detach::DetachError;
pub use plugged::Plugged;

pub(super) use bridges::Bridges;
pub(super) use mac::Macs;

use alloc::string::{String, ToString};
use core::fmt;

use backends::host::MacAddress;
use backends::xenbus::{Control, Device, End};
use backends::xenstore::Error;

use crate::config::{DiskSpec, VifSpec};
use vbd::Vbd;
use vif::Vif;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A disk.
    Vbd,
    /// A network.
    Vif,
}

impl What {
    fn kind(&self) -> Kind {
        match self {
            Self::Vbd(_) => Kind::Vbd,
            Self::Vif { .. } => Kind::Vif,
        }
    }

    fn id(&self) -> u32 {
        match self {
            Self::Vbd(spec) => spec.vdev.number(),
            Self::Vif { id, .. } => *id,
        }
    }
}

impl Kind {
    /// Its name in xenstore.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vbd => "vbd",
            Self::Vif => "vif",
        }
    }
}

/// Why a device could not be had: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceError {
    /// The device as its user knows it.
    pub device: String,
    /// What is wrong, and what to do.
    pub text: String,
}

impl DeviceError {
    fn new(device: &dyn fmt::Display, text: impl ToString) -> Self {
        Self {
            device: device.to_string(),
            text: text.to_string(),
        }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.device, self.text)
    }
}

impl core::error::Error for DeviceError {}

/// What a device takes of the host, until dropped.
#[derive(Debug)]
pub(super) enum Resource {
    /// A disk that is open.
    Vbd(Vbd),
    /// An address and a place on a bridge.
    Vif(Vif),
}

impl Resource {
    /// One backend's life, with nothing left over from the one before.
    async fn serve(&self, device: &Device, control: &Control) -> Result<End, Error> {
        match self {
            Self::Vbd(disk) => disk.run(device, control).await,
            Self::Vif(vif) => vif.run(device, control).await,
        }
    }

    fn what(&self) -> What {
        match self {
            Self::Vbd(disk) => What::Vbd(disk.spec.clone()),
            Self::Vif(vif) => What::Vif {
                id: vif.id,
                spec: vif.spec.clone(),
                mac: vif.mac.address(),
            },
        }
    }
}

/// What a device is to its user. It holds nothing of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A disk.
    Vbd(DiskSpec),
    /// A network.
    Vif {
        /// Its number.
        id: u32,
        /// How it was specified.
        spec: VifSpec,
        /// The address it has.
        mac: MacAddress,
    },
}

/// As a user calls it: `disk xvda`, `vif 0`.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vbd(spec) => write!(f, "disk {}", spec.vdev),
            Self::Vif { id, .. } => write!(f, "vif {id}"),
        }
    }
}
