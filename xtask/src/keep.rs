//! The process behind a background host: owns its QEMU, relays its management channel.

use anyhow::Result;

use crate::machine::{Machine, Options, Serial};
use crate::paths::Paths;

/// Starts a host and stays with it until it ends.
///
/// # Errors
///
/// If it cannot be started.
pub fn keep(paths: &Paths, options: &Options) -> Result<()> {
    Machine::start(paths, options, Serial::Background)?.wait()?;
    Ok(())
}
