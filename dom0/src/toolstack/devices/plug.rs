//! Plugging devices in: with a new domain, or into one that runs.

use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;

use super::vbd::Vbd;
use super::vif::Vif;
use super::{DeviceError, Kind, Plugged, Resource, nodes};
use crate::config::{DiskSpec, DomainConfig, VifSpec};
use crate::toolstack::{Guest, Phase, Toolstack};

/// Devices of a kind that a domain may have.
const MAX_DEVICES: usize = 64;

impl Toolstack {
    /// Takes all that a domain's devices need, before the domain is built.
    pub(in crate::toolstack) async fn prepare(
        &self,
        config: &DomainConfig,
    ) -> Result<Vec<Resource>, DeviceError> {
        let mut resources = Vec::new();
        for spec in &config.disks {
            let disk = Vbd::open(&self.storage, spec.clone(), &config.name).await?;
            resources.push(Resource::Vbd(disk));
        }
        let pool = (&self.macs, &self.bridges);
        // A network that got an address asked for must not lose it to another's default.
        let (given, free): (Vec<_>, Vec<_>) =
            config.vifs.iter().partition(|spec| spec.mac.is_some());
        for spec in given.into_iter().chain(free) {
            let id = spec.devid.unwrap_or_default();
            let vif = Vif::take(pool, spec.clone(), id, &config.name)?;
            resources.push(Resource::Vif(vif));
        }
        Ok(resources)
    }

    /// Plugs a disk into a domain that runs.
    ///
    /// # Errors
    ///
    /// Why it can't be. Nothing is left then.
    pub async fn attach_disk(
        self: &Rc<Self>,
        guest: &Rc<Guest>,
        spec: DiskSpec,
    ) -> Result<Rc<Plugged>, DeviceError> {
        // Before the target is opened: the likeliest mistake, and no claim has to be made for it.
        self.check_place(
            guest,
            Kind::Vbd,
            spec.vdev.number(),
            &format!("disk {}", spec.vdev),
        )?;
        let disk = Vbd::open(&self.storage, spec, &guest.name()).await?;
        self.plug(guest, Resource::Vbd(disk))
    }

    /// Plugs a network into a domain that runs, with the first free number unless it names one.
    ///
    /// # Errors
    ///
    /// Why it can't be. Nothing is left then.
    pub fn attach_vif(
        self: &Rc<Self>,
        guest: &Rc<Guest>,
        spec: VifSpec,
    ) -> Result<Rc<Plugged>, DeviceError> {
        let free = (0..).find(|&id| guest.device(Kind::Vif, id).is_none());
        let id = spec.devid.or(free).unwrap_or_default();
        self.check_place(guest, Kind::Vif, id, &format!("vif {id}"))?;
        let vif = Vif::take((&self.macs, &self.bridges), spec, id, &guest.name())?;
        self.plug(guest, Resource::Vif(vif))
    }

    /// Whether a device may be plugged in there.
    fn check_place(
        &self,
        guest: &Guest,
        kind: Kind,
        id: u32,
        title: &str,
    ) -> Result<(), DeviceError> {
        let wrong = |text| Err(DeviceError::new(&title, text));
        if guest.phase() != Phase::Alive {
            return wrong(format!("domain {} has ended", guest.name()));
        }
        if guest.device(kind, id).is_some() {
            return wrong(format!(
                "domain {} has one already; choose another",
                guest.name()
            ));
        }
        let all = guest.devices();
        if all.iter().filter(|device| device.kind() == kind).count() >= MAX_DEVICES {
            return wrong(format!("domain {} has {MAX_DEVICES} already", guest.name()));
        }
        Ok(())
    }

    /// Writes a device's nodes and starts what serves it.
    pub(in crate::toolstack) fn plug(
        self: &Rc<Self>,
        guest: &Rc<Guest>,
        resource: Resource,
    ) -> Result<Rc<Plugged>, DeviceError> {
        let what = resource.what();
        let (kind, id) = (what.kind(), what.id());
        self.check_place(guest, kind, id, &format!("{what}"))?;
        let written = nodes::create(&mut self.store().borrow_mut(), guest.domain, &resource);
        written.map_err(|error| {
            nodes::remove(&mut self.store().borrow_mut(), guest.domain, kind, id);
            DeviceError::new(&what, format!("xenstore refused its nodes: {error}"))
        })?;
        let device = Rc::new(Plugged::new(what));
        guest.devices.borrow_mut().push(device.clone());
        let (toolstack, owner, served) = (self.clone(), guest.clone(), device.clone());
        let task = self.runtime.spawn(async move {
            let (host, domain) = (&toolstack.host, owner.domain);
            served.serve(host, domain, &resource).await;
            drop(resource);
            toolstack.unplug(&owner, &served);
        });
        device.task.replace(Some(task));
        Ok(device)
    }

    /// Forgets a device that nothing serves any more.
    pub(super) fn unplug(&self, guest: &Guest, device: &Rc<Plugged>) {
        let mut devices = guest.devices.borrow_mut();
        let Some(place) = devices.iter().position(|other| Rc::ptr_eq(other, device)) else {
            return;
        };
        devices.remove(place);
        drop(devices);
        let (kind, id) = (device.kind(), device.id());
        nodes::remove(&mut self.store().borrow_mut(), guest.domain, kind, id);
        device.set_over();
    }
}
