//! The file with the file system.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::quietly;
use crate::command;

/// What holds the packages, with some room to work in.
const LEAST_MIB: u64 = 768;

/// Checks a size before anything is done: digits, and one of M and G.
pub(super) fn check_size(size: &str) -> Result<()> {
    let mib = size_in_mib(size);
    let Some(mib) = mib else {
        bail!("size {size}: not a number with M or G, such as 2G");
    };
    ensure!(
        mib >= LEAST_MIB,
        "size {size}: too small, the least is {LEAST_MIB}M"
    );
    Ok(())
}

fn size_in_mib(size: &str) -> Option<u64> {
    let (digits, factor) = match size.strip_suffix('G') {
        Some(digits) => (digits, 1024),
        None => (size.strip_suffix('M')?, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Writes a tree into a new file. Tables and journal are written now (as holes), so that no domain
/// has to do it at its first boot.
pub(super) fn make(file: &Path, tree: &Path, size: &str) -> Result<()> {
    let partial = partial(file);
    let _ = fs::remove_file(&partial);
    let mut mke2fs = Command::new(command::find_admin("mke2fs").context("no mke2fs")?);
    mke2fs.args(["-q", "-F", "-t", "ext4", "-L", "root", "-m", "1"]);
    mke2fs.args(["-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    quietly(mke2fs.arg("-d").arg(tree).arg(&partial).arg(size))?;
    fs::rename(&partial, file)?;
    Ok(())
}

/// Copies an image: its holes stay holes, and where the file system can share, it shares.
///
/// # Errors
///
/// If it cannot be written.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = Command::new("cp");
    cp.args(["--sparse=always", "--reflink=auto"]);
    quietly(cp.arg(from).arg(to)).with_context(|| format!("cannot write {}", to.display()))
}

/// The name of a file that is not whole yet.
fn partial(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".partial");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_its_unit() {
        assert_eq!(size_in_mib("2G"), Some(2048));
        assert_eq!(size_in_mib("900M"), Some(900));
        for wrong in ["", "G", "2", "2K", "-1G", "x", "99999999999999999999G"] {
            assert_eq!(size_in_mib(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_size_that_cannot_hold_the_packages_is_refused() {
        assert!(check_size("767M").is_err());
        assert!(check_size("768M").is_ok());
    }
}
