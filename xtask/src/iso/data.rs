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

/// FAT32 is no smaller than this, tables included.
const LEAST_BYTES: u64 = 40 << 20;
/// What is left free beside the files.
const SPARE_BYTES: u64 = 4 << 20;

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

/// Makes the file system in the file `image`.
///
/// # Errors
///
/// If a file cannot be read, or the image not be written.
pub(super) fn make(image: &Path, entries: &[Entry]) -> Result<()> {
    let mut bytes = SPARE_BYTES;
    for entry in entries {
        bytes += match &entry.source {
            Source::File(file) => fs::metadata(file)
                .with_context(|| format!("cannot read {}", file.display()))?
                .len(),
            Source::Text(text) => text.len() as u64,
        };
    }
    let bytes = bytes.max(LEAST_BYTES).next_multiple_of(1 << 20);
    File::create(image)?.set_len(bytes)?;
    mtools("mformat", image, &["-F", "-v", "RADON-DATA", "::"])?;
    for folder in ["::/guests", "::/kernels"] {
        mtools("mmd", image, &[folder])?;
    }
    for entry in entries {
        let place = format!("::{}", entry.path);
        match &entry.source {
            Source::File(file) => mtools("mcopy", image, &[&file.to_string_lossy(), &place])?,
            Source::Text(text) => {
                let passing = image.with_extension("cfg");
                fs::write(&passing, text)?;
                mtools("mcopy", image, &[&passing.to_string_lossy(), &place])?;
            }
        }
    }
    Ok(())
}

fn mtools(program: &str, image: &Path, arguments: &[&str]) -> Result<()> {
    let mut tool = Command::new(program);
    tool.arg("-i").arg(image).args(arguments);
    // What a user has set up for real floppies does not concern us.
    tool.env("MTOOLSRC", "/dev/null")
        .env("MTOOLS_SKIP_CHECK", "1");
    command::capture(&mut tool).map(drop)
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
