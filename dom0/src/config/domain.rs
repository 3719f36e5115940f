//! A domain as configured: every value of the right kind and in range.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use guest_abi::version::DomainHandle;

use super::disk::DiskSpec;
use super::keys::{IGNORED, USED, nearest};
use super::syntax::{Setting, Value};
use super::vif::VifSpec;
use super::{Complaint, Place, devices};

/// The most vCPUs a domain may have.
const MAX_VCPUS: u64 = 32;
/// Memory beyond any machine, in MiB.
const MAX_MEMORY_MIB: u64 = 1 << 24;
/// Memory of a domain whose configuration doesn't say, in MiB, as with Xen's tools.
const DEFAULT_MEMORY_MIB: u64 = 32;
/// Longest name.
const MAX_NAME: usize = 64;

/// What happens when a domain ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes.
    Destroy,
    /// It goes, and starts anew.
    Restart,
    /// It stays under another name, and starts anew.
    RenameRestart,
    /// It stays as it is, to be looked at.
    Preserve,
    /// As `destroy`, with a dump of its memory.
    CoredumpDestroy,
    /// As `restart`, with a dump of its memory.
    CoredumpRestart,
}

impl Action {
    const ALL: [(&'static str, Self); 6] = [
        ("destroy", Self::Destroy),
        ("restart", Self::Restart),
        ("rename-restart", Self::RenameRestart),
        ("preserve", Self::Preserve),
        ("coredump-destroy", Self::CoredumpDestroy),
        ("coredump-restart", Self::CoredumpRestart),
    ];

    /// The action's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, action)| *action == self)
            .map_or("", |(name, _)| name)
    }
}

/// A domain's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// Its name.
    pub name: String,
    /// Its UUID, if one was asked for.
    pub uuid: Option<DomainHandle>,
    /// The kernel file.
    pub kernel: String,
    /// The ramdisk file.
    pub ramdisk: Option<String>,
    /// The kernel's command line.
    pub command_line: String,
    /// Memory at start, in MiB.
    pub memory_mib: u64,
    /// The most memory it may ever hold, in MiB.
    pub max_memory_mib: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Its disks.
    pub disks: Vec<DiskSpec>,
    /// Its networks.
    pub vifs: Vec<VifSpec>,
    /// When it powers off.
    pub on_poweroff: Action,
    /// When it asks for a reboot.
    pub on_reboot: Action,
    /// When it crashes.
    pub on_crash: Action,
}

/// Settings by key; the last one of a key counts.
struct Settings<'a> {
    source: &'a str,
    all: &'a [Setting],
}

/// Checks settings.
pub(super) fn from_settings(
    source: &str,
    all: &[Setting],
) -> Result<(DomainConfig, Vec<Complaint>), Complaint> {
    let settings = Settings { source, all };
    let mut warnings: Vec<Complaint> = all.iter().filter_map(doubt).collect();
    let name = settings.name()?;
    let kernel = settings.needed_text("kernel", "\"/boot/vmlinuz\"")?;
    let command_line = settings.command_line(&mut warnings)?;
    let memory = settings.number("memory", 1..=MAX_MEMORY_MIB, "MiB")?;
    let max_memory = settings.number("maxmem", 1..=MAX_MEMORY_MIB, "MiB")?;
    let memory_mib = memory.or(max_memory).unwrap_or(DEFAULT_MEMORY_MIB);
    let max_memory_mib = max_memory.unwrap_or(memory_mib);
    if let (true, Some(setting)) = (max_memory_mib < memory_mib, settings.get("maxmem")) {
        let text = format!("`maxmem` ({max_memory_mib}) is less than `memory` ({memory_mib})");
        return Err(Complaint {
            place: setting.place.clone(),
            text,
        });
    }
    let vcpus = settings
        .number("vcpus", 1..=MAX_VCPUS, "vCPUs")?
        .unwrap_or(1);
    let config = DomainConfig {
        name,
        uuid: settings.uuid()?,
        kernel,
        ramdisk: settings.text("ramdisk")?,
        command_line,
        memory_mib,
        max_memory_mib,
        vcpus: u32::try_from(vcpus).unwrap_or(1),
        disks: devices::disks(settings.get("disk"), &mut warnings)?,
        vifs: devices::vifs(settings.get("vif"), &mut warnings)?,
        on_poweroff: settings.action("on_poweroff", Action::Destroy)?,
        on_reboot: settings.action("on_reboot", Action::Restart)?,
        on_crash: settings.action("on_crash", Action::Destroy)?,
    };
    Ok((config, warnings))
}

/// What is doubtful about a setting's key.
fn doubt(setting: &Setting) -> Option<Complaint> {
    let key = setting.key.as_str();
    if USED.contains(&key) {
        return None;
    }
    let text = match IGNORED.iter().find(|(known, _)| *known == key) {
        Some((_, reason)) => format!("`{key}` is ignored: {reason}"),
        None => {
            let known = USED
                .into_iter()
                .chain(IGNORED.iter().map(|(known, _)| *known));
            match nearest(key, known) {
                Some(meant) => format!("unknown key `{key}` is ignored; did you mean `{meant}`?"),
                None => format!("unknown key `{key}` is ignored"),
            }
        }
    };
    Some(Complaint {
        place: setting.place.clone(),
        text,
    })
}

impl<'a> Settings<'a> {
    fn get(&self, key: &str) -> Option<&'a Setting> {
        self.all.iter().rev().find(|setting| setting.key == key)
    }

    fn missing(&self, key: &str, example: &str) -> Complaint {
        let place = Place {
            source: self.source.to_owned(),
            line: 0,
        };
        Complaint {
            place,
            text: format!("`{key}` is missing; add {key}={example}"),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, Complaint> {
        let Some(setting) = self.get(key) else {
            return Ok(None);
        };
        match &setting.value {
            Value::Text(text) => Ok(Some(text.clone())),
            other => Err(Complaint {
                place: setting.place.clone(),
                text: format!("`{key}` must be a string, not {other}; put it in quotes"),
            }),
        }
    }

    fn needed_text(&self, key: &str, example: &str) -> Result<String, Complaint> {
        let text = self.text(key)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| self.missing(key, example))
    }

    fn number(
        &self,
        key: &str,
        range: core::ops::RangeInclusive<u64>,
        unit: &str,
    ) -> Result<Option<u64>, Complaint> {
        let Some(setting) = self.get(key) else {
            return Ok(None);
        };
        let complain = |text| Complaint {
            place: setting.place.clone(),
            text,
        };
        let number = match &setting.value {
            Value::Number(number) => *number,
            // Quoted numbers are common in the wild.
            Value::Text(text) if text.parse::<u64>().is_ok() => text.parse().unwrap_or(0),
            other => {
                return Err(complain(format!(
                    "`{key}` must be a number of {unit}, not {other}"
                )));
            }
        };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let (from, to) = (range.start(), range.end());
        Err(complain(format!(
            "`{key}` must be between {from} and {to} {unit}, not {number}"
        )))
    }

    fn action(&self, key: &str, default: Action) -> Result<Action, Complaint> {
        let Some(text) = self.text(key)? else {
            return Ok(default);
        };
        let known = Action::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, action)| *action).ok_or_else(|| {
            let names: Vec<_> = Action::ALL.iter().map(|(name, _)| *name).collect();
            let place = self.get(key).map(|setting| setting.place.clone());
            Complaint {
                place: place.unwrap_or(Place {
                    source: self.source.to_owned(),
                    line: 0,
                }),
                text: format!(
                    "`{key}` must be one of {}, not \"{text}\"",
                    names.join(", ")
                ),
            }
        })
    }

    fn name(&self) -> Result<String, Complaint> {
        let name = self.needed_text("name", "\"guest\"")?;
        let place = self.get("name").map(|setting| setting.place.clone());
        let complain = |text| match place {
            Some(place) => Err(Complaint { place, text }),
            None => Err(self.missing("name", "\"guest\"")),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+:".contains(c);
        if name.len() > MAX_NAME || !name.chars().all(allowed) {
            return complain(format!(
                "`name` must be up to {MAX_NAME} letters, digits or -_.+: and not \"{}\"",
                name.escape_debug()
            ));
        }
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return complain(format!("`name` \"{name}\" would be taken for a domain id"));
        }
        Ok(name)
    }

    /// `cmdline` says all; otherwise `root` and `extra` are put together.
    fn command_line(&self, warnings: &mut Vec<Complaint>) -> Result<String, Complaint> {
        let (root, extra) = (self.text("root")?, self.text("extra")?);
        if let Some(line) = self.text("cmdline")? {
            if let (true, Some(setting)) = (root.is_some() || extra.is_some(), self.get("cmdline"))
            {
                let text = "`root` and `extra` are ignored, because `cmdline` is set".to_owned();
                warnings.push(Complaint {
                    place: setting.place.clone(),
                    text,
                });
            }
            return Ok(line);
        }
        let root = root.map(|root| format!("root={root}"));
        let parts: Vec<_> = [root, extra].into_iter().flatten().collect();
        Ok(parts.join(" "))
    }

    fn uuid(&self) -> Result<Option<DomainHandle>, Complaint> {
        let (Some(text), Some(setting)) = (self.text("uuid")?, self.get("uuid")) else {
            return Ok(None);
        };
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != '-')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .unwrap_or_default();
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect();
        match DomainHandle::try_from(bytes.as_slice()) {
            Ok(uuid) if digits.len() == 32 => Ok(Some(uuid)),
            _ => Err(Complaint {
                place: setting.place.clone(),
                text: format!("`uuid` must be 32 hexadecimal digits, not \"{text}\""),
            }),
        }
    }
}
