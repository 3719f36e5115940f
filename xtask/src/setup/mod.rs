//! `setup`: gets what is missing, says what it does, and does nothing twice.
//!
//! Each thing that can be missing knows how to find out and how to be got. What needs root and is
//! run without it ends in one line for each thing, with the command to run.

pub mod busybox;
pub mod cpio;
pub mod kernels;
pub mod packages;
pub mod pv_grub;
pub mod target;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use packages::Package;

/// Gets everything.
///
/// # Errors
///
/// If something could be neither found nor got; all of it is named.
pub fn setup(paths: &Paths, kernel: Option<&Path>) -> Result<()> {
    fs::create_dir_all(paths.build())?;
    let mut problems = Vec::new();
    let mut note = |outcome: Result<()>| problems.extend(outcome.err());
    note(target::ensure());
    note(packages::ensure(Package::ALL));
    match kernel {
        Some(file) => note(take_kernel(paths, file)),
        None => note(kernels::ensure(paths)),
    }
    note(busybox::ensure(paths));
    note(pv_grub::ensure(paths));
    match problems.as_slice() {
        [] => {
            eprintln!("everything is there, in {}", paths.build().display());
            Ok(())
        }
        [one] => bail!("{one:#}"),
        many => {
            for problem in many {
                eprintln!("missing: {problem:#}");
            }
            bail!("{} things are missing", many.len())
        }
    }
}

/// Gets what `build` needs.
///
/// # Errors
///
/// If it cannot be had.
pub fn ensure_for_build(paths: &Paths) -> Result<()> {
    fs::create_dir_all(paths.build())?;
    target::ensure()
}

/// Gets what a host needs to run.
///
/// # Errors
///
/// If it cannot be had.
pub fn ensure_for_hosts(paths: &Paths) -> Result<()> {
    ensure_for_build(paths)?;
    packages::ensure(&[Package::QEMU])
}

/// Puts a kernel supplied by hand where Debian's would be.
fn take_kernel(paths: &Paths, file: &Path) -> Result<()> {
    let to = paths.kernel(kernels::FLAVOURS[0]);
    fs::create_dir_all(to.parent().unwrap_or(&to))?;
    fs::copy(file, &to).with_context(|| format!("cannot copy {}", file.display()))?;
    eprintln!("kernel: {} is used as {}", file.display(), to.display());
    Ok(())
}
