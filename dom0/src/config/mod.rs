//! `xl.cfg`: what a user writes about a domain.
//!
//! `syntax` reads lines into settings, `keys` knows every key there is, `disk` and `vif` read the
//! specifications of devices, and [`DomainConfig`] is what is left when all has been checked. Every complaint is one line that names the place,
//! what is wrong, and what to write instead.

mod devices;
mod disk;
mod domain;
mod keys;
mod rate;
mod syntax;
#[cfg(test)]
mod tests;
mod vdev;
mod vif;

pub use disk::DiskSpec;
pub use domain::{Action, DomainConfig};
pub use keys::nearest;
pub use rate::Rate;
pub use syntax::{Setting, Value};
pub use vdev::Vdev;
pub use vif::{DEFAULT_BRIDGE, VifSpec, mac as parse_mac};

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name, or that it is the command line.
    pub source: String,
    /// The line, counted from 1; 0 when there are no lines.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.source),
            line => write!(f, "{}:{line}", self.source),
        }
    }
}

/// Something about a configuration that the user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Where.
    pub place: Place,
    /// What.
    pub text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl core::error::Error for Complaint {}

/// A configuration being put together: a file, and settings from the command line, which win.
#[derive(Debug, Default)]
pub struct Sources {
    settings: Vec<Setting>,
    /// What a complaint about something missing names.
    main: Option<String>,
}

impl Sources {
    /// Adds a file.
    ///
    /// # Errors
    ///
    /// The first line that can't be read.
    pub fn file(&mut self, name: &str, text: &str) -> Result<(), Complaint> {
        self.main.get_or_insert_with(|| name.into());
        self.settings.extend(syntax::parse(name, text)?);
        Ok(())
    }

    /// Adds a `key=value` of the command line. Text needs no quotes here: the shell has its own.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn argument(&mut self, text: &str) -> Result<(), Complaint> {
        self.settings.push(syntax::parse_argument(text)?);
        Ok(())
    }

    /// The domain they describe, and what the user should be warned of.
    ///
    /// # Errors
    ///
    /// What is missing or wrong.
    pub fn finish(self) -> Result<(DomainConfig, Vec<Complaint>), Complaint> {
        let source = self.main.unwrap_or_else(|| syntax::COMMAND_LINE.into());
        domain::from_settings(&source, &self.settings)
    }
}
