//! `iso`: a disk image that boots by itself, from a CD, a USB stick or a virtio disk, with a BIOS
//! and with UEFI.
//!
//! `grub-mkrescue` makes the image: GRUB, the core and dom0 lie in its ISO 9660 file system. Behind
//! them is a partition of its own, an ext4 file system that dom0 knows by the name [`DATA_NAME`]: the
//! sample guests and their configs, so that the host needs nobody else.

mod data;
mod gpt;
mod menu;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build;
use crate::command;
use crate::paths::Paths;
use crate::progress::Step;
use crate::setup::packages::{self, Package};

/// The name of the partition with dom0's own file system.
pub const DATA_NAME: &str = "radon-data";

/// What it takes.
const PACKAGES: [Package; 5] = [
    Package::GRUB_BIOS,
    Package::GRUB_EFI,
    Package::XORRISO,
    Package::MTOOLS,
    Package::EXT4,
];
/// The partition's number, as `grub-mkrescue` leaves it free.
const DATA_PARTITION: &str = "3";
/// An MBR's type byte; of the GPT it makes "Linux filesystem".
const DATA_TYPE: &str = "0x83";

/// Makes the image in `out`, or else in the build folder; brings what goes into it up to date
/// first if `build`.
///
/// # Errors
///
/// If something is missing, does not compile, or cannot be written.
pub fn iso(paths: &Paths, out: Option<&Path>, build: bool) -> Result<()> {
    packages::ensure(&PACKAGES)?;
    if build {
        build::build(paths)?;
    }
    let out = out.map_or_else(|| paths.build().join("radon.iso"), Path::to_path_buf);
    let step = Step::begin("making the ISO");
    let work = Work::begin(paths)?;
    let image = make(paths, &work.0)?;
    // Only a whole image takes the place of the one before.
    fs::copy(&image, &out).with_context(|| format!("cannot write {}", out.display()))?;
    step.done();
    println!("{}", out.display());
    Ok(())
}

/// A folder to work in, which nobody needs afterwards.
struct Work(PathBuf);

impl Work {
    fn begin(paths: &Paths) -> Result<Self> {
        let folder = paths.build().join(format!("iso-{}", std::process::id()));
        fs::create_dir_all(folder.join("tree/boot/grub"))?;
        Ok(Self(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make(paths: &Paths, work: &Path) -> Result<PathBuf> {
    let (tree, data, image) = (work.join("tree"), work.join("data"), work.join("image"));
    for (from, name) in [(paths.core_image(), "radon"), (paths.dom0_image(), "dom0")] {
        fs::copy(&from, tree.join("boot").join(name))
            .with_context(|| format!("cannot read {}", from.display()))?;
    }
    fs::write(tree.join("boot/grub/grub.cfg"), menu::MENU)?;
    data::make(&data, &work.join("stage"), &data::contents(paths))?;
    command::capture(
        Command::new("grub-mkrescue")
            .arg("-o")
            .args([&image, &tree])
            .args(["--", "-volid", "RADON"])
            .args(["-append_partition", DATA_PARTITION, DATA_TYPE])
            .arg(&data)
            .args(["-boot_image", "any", "appended_part_as=gpt"]),
    )?;
    gpt::rename(&image, &format!("Appended{DATA_PARTITION}"), DATA_NAME)
        .context("the image's partition table")?;
    Ok(image)
}
