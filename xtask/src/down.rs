//! `down`: ends a host in the background.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::machine::HostDir;
use crate::paths::Paths;

/// How long QEMU may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends a host: its QEMU, and with it the process that keeps it.
///
/// # Errors
///
/// If no such host runs, or it does not end.
pub fn down(paths: &Paths, name: &str) -> Result<()> {
    let host = HostDir::open(paths, name)?;
    host.stop_qemu();
    if !host.wait_until_gone(PATIENCE) {
        bail!(
            "host {name} does not end; its folder is {}",
            host.path().display()
        );
    }
    Ok(())
}
