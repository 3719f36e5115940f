//! Why a disk cannot be had, in words for whoever asked: cause and remedy in one line.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use backends::host::DiskError;

use crate::config::nearest;

/// Why a disk, a volume or a file of dom0's own could not be opened, made or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// The words can name no disk at all.
    Malformed {
        /// As the user wrote it.
        spec: String,
    },
    /// There is no such disk, partition, pool, volume or file.
    Missing {
        /// As the user wrote it.
        spec: String,
        /// What there is not.
        what: &'static str,
        /// What to do.
        hint: String,
    },
    /// Somebody else has it.
    InUse {
        /// As the user wrote it.
        spec: String,
        /// Who.
        holder: String,
    },
    /// It can be read only.
    ReadOnly {
        /// As the user wrote it.
        spec: String,
        /// Why.
        reason: String,
    },
    /// The device failed.
    Device {
        /// As the user wrote it.
        spec: String,
        /// How.
        error: DiskError,
    },
    /// It cannot be done, for a reason that says what to do.
    Refused {
        /// As the user wrote it.
        spec: String,
        /// The reason and the remedy.
        reason: String,
    },
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { spec } => write!(
                f,
                "'{spec}' names no disk; write /dev/vda, /dev/vda2, \
                 /dev/disk/by-partlabel/NAME, /dev/POOL/VOLUME or /path/of/image"
            ),
            Self::Missing { spec, what, hint } => write!(f, "{spec}: no such {what}; {hint}"),
            Self::InUse { spec, holder } => write!(
                f,
                "{spec} is in use by {holder}; give it back there first, or use another"
            ),
            Self::ReadOnly { spec, reason } => {
                write!(f, "{spec} cannot be written: {reason}; use mode r")
            }
            Self::Device { spec, error } => write!(f, "{spec}: {error}"),
            Self::Refused { spec, reason } => write!(f, "{spec}: {reason}"),
        }
    }
}

impl core::error::Error for StorageError {}

impl StorageError {
    /// Something is missing; the hint names the nearest of what there is, all of it, or `none`.
    pub(super) fn missing(spec: &str, what: &'static str, known: &[String], none: &str) -> Self {
        let word = spec.rsplit('/').next().unwrap_or(spec);
        let hint = match nearest(word, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None if known.is_empty() => none.to_string(),
            None => format!("there are {}", known.join(", ")),
        };
        Self::Missing {
            spec: spec.to_string(),
            what,
            hint,
        }
    }

    /// It cannot be done.
    pub(super) fn refused(spec: &str, reason: impl ToString) -> Self {
        Self::Refused {
            spec: spec.to_string(),
            reason: reason.to_string(),
        }
    }

    /// The device failed.
    pub(super) fn device(spec: &str) -> impl Fn(DiskError) -> Self {
        let spec = spec.to_string();
        move |error| Self::Device {
            spec: spec.clone(),
            error,
        }
    }
}

/// The names of things, for a hint.
pub(super) fn names<T>(things: &[T], name: impl Fn(&T) -> String) -> Vec<String> {
    things.iter().map(name).collect()
}
