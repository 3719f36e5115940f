//! A network: a leased address and a place on a bridge.

use alloc::format;
use alloc::rc::Rc;
use core::fmt;

use backends::netback::{Netback, Options, Rate, Switch};
use backends::xenbus::{Control, Device, End};
use backends::xenstore::Error;

use super::mac::MacLease;
use super::{Bridges, DeviceError, Macs};
use crate::config::VifSpec;

/// A network card of a guest.
pub(crate) struct Vif {
    pub(super) id: u32,
    pub(super) spec: VifSpec,
    pub(super) mac: MacLease,
    switch: Rc<Switch>,
}

impl fmt::Debug for Vif {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vif")
            .field("id", &self.id)
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Vif {
    /// Takes what the network `id` of a domain of this name needs.
    pub(super) fn take(
        (macs, bridges): (&Macs, &Bridges),
        spec: VifSpec,
        id: u32,
        name: &str,
    ) -> Result<Self, DeviceError> {
        let wrong = |text| DeviceError::new(&format_args!("vif {id}"), text);
        let switch = bridges.find(&spec.bridge).map_err(wrong)?;
        let holder = format!("vif {id} of domain {name}");
        let mac = match spec.mac {
            Some(mac) => macs.lease(mac, holder).map_err(wrong)?,
            None => macs.lease_default(name, id, holder),
        };
        Ok(Self {
            id,
            spec,
            mac,
            switch,
        })
    }

    /// Serves the frontend with a backend of its own.
    pub(super) async fn run(&self, device: &Device, control: &Control) -> Result<End, Error> {
        let backend = Netback::new(self.switch.clone(), self.options());
        backends::xenbus::run(device, &backend, control).await
    }

    fn options(&self) -> Options {
        let rate = self.spec.rate.map(|rate| Rate {
            bytes_per_interval: rate.bytes_per_interval(),
            interval_us: rate.interval_us,
        });
        Options {
            addresses: self.spec.ips.clone(),
            rate,
            mtu: self.spec.mtu(),
            ..Options::new(self.mac.address())
        }
    }
}
