//! PV-GRUB: Debian's GRUB built as a PV kernel. It reads the configuration on a domain's own disk
//! and boots the kernel that lies there, so that the guest, not the host, chooses its kernel.

use std::fs;

use anyhow::{Context, Result};

use super::kernels;
use crate::paths::Paths;
use crate::progress::Step;

const PACKAGE: &str = "grub-xen-host";
/// Where it lies in the package.
const FILE: &str = "usr/lib/grub-xen/grub-x86_64-xen.bin";

/// Makes sure that PV-GRUB lies in the build folder.
///
/// # Errors
///
/// If its package cannot be had.
pub fn ensure(paths: &Paths) -> Result<()> {
    let to = paths.pv_grub();
    if to.is_file() {
        return Ok(());
    }
    let step = Step::begin("getting PV-GRUB");
    let root = kernels::unpack(paths, PACKAGE).context("PV-GRUB cannot be had")?;
    fs::create_dir_all(to.parent().unwrap_or(&to))?;
    fs::copy(root.join(FILE), &to).with_context(|| format!("{PACKAGE} holds no {FILE}"))?;
    step.done();
    Ok(())
}
