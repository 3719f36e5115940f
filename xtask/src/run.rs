//! `run`: a host on our terminal.

use anyhow::Result;

use crate::build;
use crate::machine::{Machine, Options, Serial};
use crate::paths::Paths;
use crate::setup;

/// Boots a host and gives the terminal to dom0's console, until it powers off or is left.
///
/// # Errors
///
/// If it cannot be built or started.
pub fn run(paths: &Paths, options: &Options) -> Result<u8> {
    setup::ensure_for_hosts(paths)?;
    build::build(paths)?;
    eprintln!("booting {}; Ctrl-A X leaves", options.name);
    let status = Machine::start(paths, options, Serial::Terminal)?.wait()?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}
