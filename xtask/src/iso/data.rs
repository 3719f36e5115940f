//! dom0's own file system on the image: sample guests and the configs that start them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::paths::Paths;
use crate::setup::kernels::FLAVOURS;

/// The samples among the Rust guests.
const GUESTS: [&str; 3] = ["hello", "smp", "bench"];

/// Room for what the file system needs for itself.
const SPARE_BYTES: u64 = 8 << 20;

/// A file for the file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path there.
    path: String,
    source: Source,
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Text(String),
}

/// All that is to be there. Debian's kernel and the ramdisk are, if set-up has got them.
pub(super) fn contents(paths: &Paths) -> Vec<Entry> {
    let mut entries = Vec::new();
    for name in GUESTS {
        let path = format!("/guests/{name}");
        entries.push(text(format!("/{name}.cfg"), rust_guest(name, &path)));
        entries.push(file(path, paths.guest_image(name)));
    }
    let (kernel, ramdisk) = (paths.kernel(FLAVOURS[1]), paths.ramdisk());
    if kernel.is_file() && ramdisk.is_file() {
        entries.push(file("/kernels/vmlinuz-cloud-amd64".into(), kernel));
        entries.push(file("/kernels/ramdisk.cpio.gz".into(), ramdisk));
        entries.push(text("/debian.cfg".into(), DEBIAN.into()));
    }
    entries
}

fn file(path: String, from: PathBuf) -> Entry {
    let source = Source::File(from);
    Entry { path, source }
}

fn text(path: String, text: String) -> Entry {
    let source = Source::Text(text);
    Entry { path, source }
}

fn rust_guest(name: &str, kernel: &str) -> String {
    let vcpus = if name == "hello" { 1 } else { 2 };
    let extra = if name == "hello" { "stay" } else { "" };
    format!(
        "name = \"{name}\"\nkernel = \"{kernel}\"\nextra = \"{extra}\"\n\
         memory = 32\nvcpus = {vcpus}\non_poweroff = \"preserve\"\n"
    )
}

const DEBIAN: &str = "\
name = \"debian\"
kernel = \"/kernels/vmlinuz-cloud-amd64\"
ramdisk = \"/kernels/ramdisk.cpio.gz\"
extra = \"console=hvc0\"
memory = 192
vcpus = 1
";

/// Makes the file system in the file `image`, from a tree in the folder `stage`.
///
/// # Errors
///
/// If a file cannot be read, or the image not be written.
pub(super) fn make(image: &Path, stage: &Path, entries: &[Entry]) -> Result<()> {
    let mut bytes = SPARE_BYTES;
    for entry in entries {
        let to = stage.join(entry.path.trim_start_matches('/'));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        match &entry.source {
            Source::File(from) => {
                fs::copy(from, &to).with_context(|| format!("cannot read {}", from.display()))?;
            }
            Source::Text(text) => fs::write(&to, text)?,
        }
        bytes += fs::metadata(&to)?.len();
    }
    File::create(image)?.set_len(bytes.next_multiple_of(1 << 20))?;
    let mke2fs = command::find_admin("mke2fs").context("mke2fs is missing")?;
    // Nobody writes to it, so there is nothing for a journal to keep.
    command::capture(
        Command::new(mke2fs)
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0"])
            .args(["-E", "root_owner=0:0", "-L", super::DATA_NAME, "-d"])
            .args([stage, image]),
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::{Entry, Source, contents};
    use crate::paths::Paths;

    #[test]
    fn every_config_names_a_kernel_that_is_there() {
        let entries = contents(&Paths::at("/nowhere".into()));
        let kernel_of = |entry: &Entry| match &entry.source {
            Source::Text(text) => text
                .lines()
                .find_map(|line| line.strip_prefix("kernel = "))
                .map(|path| path.trim_matches('"').to_owned()),
            Source::File(_) => None,
        };
        let kernels: Vec<_> = entries.iter().filter_map(kernel_of).collect();
        assert_eq!(kernels.len(), 3);
        for kernel in kernels {
            assert!(entries.iter().any(|entry| entry.path == kernel), "{kernel}");
        }
    }
}
