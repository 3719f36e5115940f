//! Lists of devices in a configuration.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Complaint;
use super::disk::DiskSpec;
use super::syntax::{Setting, Value};
use super::vif::VifSpec;

/// The disks of a configuration. No two are the same to the guest.
pub(super) fn disks(
    setting: Option<&Setting>,
    warnings: &mut Vec<Complaint>,
) -> Result<Vec<DiskSpec>, Complaint> {
    let Some(setting) = setting else {
        return Ok(Vec::new());
    };
    let disks = each(setting, warnings, DiskSpec::parse)?;
    match twins(&disks, |disk| Some(disk.vdev.number())) {
        Some((first, second)) => {
            let name = disks.get(first).map_or("", |disk| disk.vdev.name());
            Err(setting.complain(format!(
                "disks {} and {} are both {name}; give one another vdev",
                first + 1,
                second + 1
            )))
        }
        None => Ok(disks),
    }
}

/// The networks of a configuration, in order: each has its number then.
pub(super) fn vifs(
    setting: Option<&Setting>,
    warnings: &mut Vec<Complaint>,
) -> Result<Vec<VifSpec>, Complaint> {
    let Some(setting) = setting else {
        return Ok(Vec::new());
    };
    let mut vifs = each(setting, warnings, VifSpec::parse)?;
    for (place, vif) in vifs.iter_mut().enumerate() {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        vif.devid.get_or_insert(place);
    }
    let same = |what: &str, key: &str, (first, second): (usize, usize)| {
        setting.complain(format!(
            "vifs {} and {} have the same {what}; give one another {key}",
            first + 1,
            second + 1
        ))
    };
    if let Some(pair) = twins(&vifs, |vif| vif.devid) {
        return Err(same("devid", "devid", pair));
    }
    match twins(&vifs, |vif| vif.mac) {
        Some(pair) => Err(same("MAC address", "mac", pair)),
        None => Ok(vifs),
    }
}

/// The first two items with the same key.
fn twins<T, K: PartialEq>(items: &[T], key: impl Fn(&T) -> Option<K>) -> Option<(usize, usize)> {
    let keys: Vec<_> = items.iter().map(key).collect();
    keys.iter().enumerate().find_map(|(second, wanted)| {
        let first = keys.iter().position(|key| key.is_some() && key == wanted)?;
        (first < second).then_some((first, second))
    })
}

/// What reads one specification: the device, and what in it has no effect.
type Reader<T> = fn(&str) -> Result<(T, Vec<String>), String>;

fn each<T>(
    setting: &Setting,
    warnings: &mut Vec<Complaint>,
    read: Reader<T>,
) -> Result<Vec<T>, Complaint> {
    let key = &setting.key;
    let items = match &setting.value {
        Value::List(items) => items.as_slice(),
        Value::Text(_) => core::slice::from_ref(&setting.value),
        other => {
            return Err(setting.complain(format!("`{key}` must be a list of strings, not {other}")));
        }
    };
    let mut all = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let place = place + 1;
        let Value::Text(text) = item else {
            return Err(setting.complain(format!(
                "`{key}` must be a list of strings, not {item} in it"
            )));
        };
        let (device, ignored) = read(text).map_err(|error| {
            setting.complain(format!(
                "{key} {place} (`{}`): {error}",
                text.escape_debug()
            ))
        })?;
        all.push(device);
        warnings.extend(
            ignored
                .into_iter()
                .map(|text| setting.complain(format!("{key} {place}: {text}"))),
        );
    }
    Ok(all)
}

impl Setting {
    fn complain(&self, text: String) -> Complaint {
        Complaint {
            place: self.place.clone(),
            text,
        }
    }
}
