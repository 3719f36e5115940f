//! A device's nodes: names, values and permissions as stock Xen's tools write them. The backend
//! adds what it can do, the frontend what it wants.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use backends::xenbus::Device;
use backends::xenstore::{Error, Local, Permissions, Store};
use guest_abi::DomId;
use guest_abi::io::xenbus::XenbusState;

use super::vbd::Vbd;
use super::vif::Vif;
use super::{Kind, Resource};

type Nodes = Vec<(&'static str, String)>;

/// Writes a new device's nodes, all at once.
pub(super) fn create(store: &mut Store, domain: DomId, resource: &Resource) -> Result<(), Error> {
    let what = resource.what();
    let (kind, id) = (what.kind().name(), what.id());
    let back = Device::back_path(kind, domain, id);
    let front = Device::front_path(kind, domain, id);
    let ours = Permissions::readable_by(DomId::DOM0, domain);
    let theirs = Permissions::readable_by(domain, DomId::DOM0);
    let initialising = XenbusState::Initialising.digit();
    let back_nodes = [
        ("frontend", front.clone()),
        ("frontend-id", domain.to_string()),
        ("online", "1".into()),
        ("state", initialising.to_string()),
    ];
    let front_nodes = [
        ("backend", back.clone()),
        ("backend-id", DomId::DOM0.to_string()),
        ("state", initialising.to_string()),
        ("trusted", "1".into()),
    ];
    let (more_back, more_front) = match resource {
        Resource::Vbd(disk) => vbd(disk),
        Resource::Vif(vif) => self::vif(vif),
    };
    store.as_dom0(|root| {
        let folder = format!("/local/domain/{domain}/device/{kind}");
        if root.list(&folder).is_err() {
            root.write_with(&folder, "", &ours)?;
        }
        write(root, &back, &ours, back_nodes.into_iter().chain(more_back))?;
        write(
            root,
            &front,
            &theirs,
            front_nodes.into_iter().chain(more_front),
        )?;
        if let Resource::Vif(vif) = resource {
            // The guest may not change it.
            root.write_with(&format!("{front}/mtu"), vif.mtu(), &ours)?;
        }
        // No script has to be waited for.
        root.write_with(&format!("{back}/hotplug-status"), "connected", &ours)
    })
}

fn write(
    root: &mut Local<'_, '_>,
    folder: &str,
    permissions: &Permissions,
    nodes: impl Iterator<Item = (&'static str, String)>,
) -> Result<(), Error> {
    root.write_with(folder, "", permissions)?;
    for (name, value) in nodes {
        root.write_with(&format!("{folder}/{name}"), value, permissions)?;
    }
    Ok(())
}

fn flag(is: bool) -> String {
    if is { "1".into() } else { "0".into() }
}

/// What a disk has beside: the backend's, the frontend's.
fn vbd(disk: &Vbd) -> (Nodes, Nodes) {
    let spec = &disk.spec;
    let kind = if spec.cdrom { "cdrom" } else { "disk" };
    let back = Vec::from([
        ("params", spec.target.clone()),
        ("removable", flag(spec.cdrom)),
        ("bootable", flag(true)),
        ("dev", spec.vdev.name().into()),
        ("type", "phy".into()),
        ("mode", if spec.read_only { "r" } else { "w" }.into()),
        ("device-type", kind.into()),
        ("discard-enable", flag(spec.discard)),
        ("specification", "xen".into()),
        ("physical-device-path", spec.target.clone()),
    ]);
    let front = Vec::from([
        ("virtual-device", spec.vdev.number().to_string()),
        ("device-type", kind.into()),
    ]);
    (back, front)
}

/// What a network has beside: the backend's, the frontend's.
fn vif(vif: &Vif) -> (Nodes, Nodes) {
    let mac = vif.mac.address().to_string();
    let mut back = Vec::from([
        ("mac", mac.clone()),
        ("bridge", vif.spec.bridge.clone()),
        ("handle", vif.id.to_string()),
        ("type", "vif".into()),
    ]);
    if !vif.spec.ips.is_empty() {
        let ips: Vec<_> = vif.spec.ips.iter().map(ToString::to_string).collect();
        back.push(("ip", ips.join(" ")));
    }
    if let Some(rate) = vif.spec.rate {
        let credit = rate.bytes_per_interval();
        back.push(("rate", format!("{credit},{}", rate.interval_us)));
    }
    let front = Vec::from([("handle", vif.id.to_string()), ("mac", mac)]);
    (back, front)
}

/// Says that a device is about to go: its frontend then doesn't wait for it to come back.
pub(super) fn set_offline(store: &mut Store, domain: DomId, kind: Kind, id: u32) {
    let path = format!("{}/online", Device::back_path(kind.name(), domain, id));
    if let Err(error) = store.put(&path, 0) {
        log::warn!("xenstore: {path} could not be written: {error}");
    }
}

/// Removes a device's nodes, the frontend's first: the guest sees its device go.
pub(super) fn remove(store: &mut Store, domain: DomId, kind: Kind, id: u32) {
    let back = Device::back_path(kind.name(), domain, id);
    let folder = back.rsplit_once('/').map_or("", |(folder, _)| folder);
    let removed = store.as_dom0(|root| {
        for path in [&Device::front_path(kind.name(), domain, id), &back] {
            match root.remove(path) {
                // The guest may remove its own.
                Ok(()) | Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        match root.list(folder) {
            Ok(rest) if rest.is_empty() => root.remove(folder),
            _ => Ok(()),
        }
    });
    if let Err(error) = removed {
        log::warn!("xenstore: {back} could not be removed: {error}");
    }
}
