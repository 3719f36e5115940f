//! What the verbs about disks and networks share.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use backends::xenbus::Device;

use super::args::Args;
use super::{Context, Failure, Outcome, Verb, failure};
use crate::config::nearest;
use crate::toolstack::{Guest, Kind, Plugged};

/// The option of verbs that take a device away.
pub(super) const FORCE: (&str, &str) = (
    "-f --force",
    "Take it away even if the guest doesn't let go of it",
);

/// A device with its guest.
type Owned = (Rc<Guest>, Rc<Plugged>);

impl Context {
    /// The guest a user means, made here.
    pub(super) fn guest(&self, word: &str, verb: &str) -> Result<Rc<Guest>, Failure> {
        let domain = self.find_guest(word, verb)?;
        let guest = self.toolstack.guest(domain);
        guest.ok_or_else(|| failure(format!("{word} was not made here; only `destroy` works")))
    }

    /// The devices of a kind of the guests named, each with its guest.
    pub(super) fn devices_of(
        &self,
        verb: &Verb,
        words: &[String],
        kind: Kind,
    ) -> Result<Vec<Owned>, Failure> {
        if words.is_empty() {
            return Err(super::args::wants(verb, 1));
        }
        let mut all = Vec::new();
        for word in words {
            let guest = self.guest(word, verb.name)?;
            let mut devices = guest.devices();
            devices.retain(|device| device.kind() == kind);
            all.extend(devices.into_iter().map(|device| (guest.clone(), device)));
        }
        Ok(all)
    }

    /// A node of a device's frontend, as a number; -1 when there is none, as `xl` has it.
    pub(super) fn front(&self, guest: &Guest, device: &Plugged, names: &[&str]) -> i64 {
        let folder = Device::front_path(device.kind().name(), guest.domain(), device.id());
        self.toolstack.with_store(|store| {
            let mut values = names
                .iter()
                .filter_map(|name| store.get(&format!("{folder}/{name}")));
            values
                .find_map(|value| value.trim().parse().ok())
                .unwrap_or(-1)
        })
    }
}

/// Takes away the device that `wanted` picks among a guest's.
pub(super) async fn detach(
    context: &Context,
    verb: &Verb,
    args: &Args,
    kind: Kind,
    wanted: impl Fn(&Plugged, &str) -> bool,
) -> Outcome {
    let [domain, word] = args.words.as_slice() else {
        return Err(super::args::wants(verb, 2));
    };
    let guest = context.guest(domain, verb.name)?;
    let devices = guest.devices();
    let found = devices
        .iter()
        .find(|device| device.kind() == kind && wanted(device, word));
    let device = found.ok_or_else(|| failure(no_such(&guest, kind, word)))?;
    if args.has(FORCE.0) {
        context.toolstack.detach_by_force(&guest, device).await;
        return Ok(());
    }
    let detached = context.toolstack.detach(&guest, device).await;
    detached.map_err(failure)
}

fn no_such(guest: &Guest, kind: Kind, word: &str) -> String {
    let (what, list) = match kind {
        Kind::Vbd => ("disk", "block-list"),
        Kind::Vif => ("network", "network-list"),
    };
    let names: Vec<String> = guest
        .devices()
        .iter()
        .filter_map(|device| Some(device.disk()?.vdev.name().into()))
        .collect();
    let name = guest.name();
    match nearest(word, names.iter().map(String::as_str)) {
        Some(meant) if kind == Kind::Vbd => {
            format!("domain {name} has no {what} {word}; did you mean {meant}?")
        }
        _ => format!("domain {name} has no {what} {word}; `xl {list} {name}` shows all"),
    }
}
