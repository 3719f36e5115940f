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

/// The MTU on a bridge without uplink, where nothing else is said.
const DEFAULT_MTU: u16 = 1500;

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
        let vif = Self {
            id,
            spec,
            mac,
            switch,
        };
        vif.compare_mtu(name);
        Ok(vif)
    }

    /// The longest packet that its guest is told to send, without the Ethernet header: what its
    /// line says, or else what the bridge's uplink carries.
    pub(super) fn mtu(&self) -> u16 {
        let mtu = self.spec.mtu.or_else(|| self.switch.mtu());
        mtu.unwrap_or(DEFAULT_MTU)
    }

    /// Says so if its guest may send packets that go to its neighbours only.
    fn compare_mtu(&self, name: &str) {
        let (id, mtu) = (self.id, self.mtu());
        if let Some(carried) = self.switch.mtu().filter(|carried| *carried < mtu) {
            let bridge = self.switch.name();
            log::warn!(
                "vif {id} of domain {name}: mtu {mtu}, but the uplink of {bridge} says {carried}: \
                 longer packets may not get beyond the bridge"
            );
        }
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
            mtu: self.mtu(),
            ..Options::new(self.mac.address())
        }
    }
}
