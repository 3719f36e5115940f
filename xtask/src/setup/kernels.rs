//! Debian's unmodified kernels, unpacked from their packages; this takes no root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::packages;
use crate::command;
use crate::paths::Paths;
use crate::progress::Step;

/// The kernels, by the last part of their package's name.
pub const FLAVOURS: [&str; 2] = ["amd64", "cloud-amd64"];

/// Makes sure that the kernels lie in the build folder.
///
/// # Errors
///
/// One line that says why not, and how to go on without.
pub fn ensure(paths: &Paths) -> Result<()> {
    for flavour in FLAVOURS {
        if !paths.kernel(flavour).is_file() {
            get(paths, flavour).with_context(|| {
                format!(
                    "Debian's {flavour} kernel cannot be had \
                     (supply one by `cargo xtask setup --kernel FILE`)"
                )
            })?;
        }
    }
    Ok(())
}

fn get(paths: &Paths, flavour: &str) -> Result<()> {
    let step = Step::begin(format!("getting Debian's {flavour} kernel"));
    let meta = format!("linux-image-{flavour}");
    let package = resolve(&meta)?;
    step.at(&package);
    let root = unpack(paths, &package)?;
    let kernel = find_kernel(&root.join("boot"))?;
    fs::create_dir_all(paths.build().join("kernels"))?;
    fs::copy(&kernel, paths.kernel(flavour))?;
    step.done();
    Ok(())
}

/// The package with the current kernel, on which the meta package depends.
fn resolve(meta: &str) -> Result<String> {
    let show =
        || command::capture(Command::new("apt-cache").args(["show", "--no-all-versions", meta]));
    let text = match show() {
        Ok(text) if !text.is_empty() => text,
        _ => {
            packages::update()?;
            show()?
        }
    };
    depended_kernel(&text).with_context(|| format!("apt knows no package {meta}"))
}

/// Finds `linux-image-<version>` in a package's dependencies.
fn depended_kernel(control: &str) -> Option<String> {
    let depends = control
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))?;
    let names = depends
        .split(',')
        .filter_map(|part| part.split_whitespace().next());
    names
        .filter(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
        .next()
}

/// Downloads a package and unpacks it into the build folder; tells where.
///
/// # Errors
///
/// If apt or dpkg cannot.
pub fn unpack(paths: &Paths, package: &str) -> Result<PathBuf> {
    let folder = paths.packages();
    let root = folder.join(package);
    if root.is_dir() {
        return Ok(root);
    }
    fs::create_dir_all(&folder)?;
    command::capture(
        Command::new("apt-get")
            .args(["-q", "download", package])
            .current_dir(&folder),
    )?;
    let archive = find_archive(&folder, package)?;
    // Unpacked under another name first: what is cut short is not taken for whole.
    let partial = folder.join(format!("{package}.partial"));
    let _ = fs::remove_dir_all(&partial);
    command::capture(
        Command::new("dpkg-deb")
            .arg("-x")
            .args([&archive, &partial]),
    )?;
    fs::rename(&partial, &root)?;
    fs::remove_file(&archive)?;
    Ok(root)
}

fn find_archive(folder: &Path, package: &str) -> Result<PathBuf> {
    find(folder, |name| {
        name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
    })
}

fn find_kernel(folder: &Path) -> Result<PathBuf> {
    find(folder, |name| name.starts_with("vmlinuz-"))
}

fn find(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    for entry in fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        let entry = entry?;
        if wanted(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    bail!("not what was expected in {}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::depended_kernel;

    #[test]
    fn the_kernels_package_is_found_in_the_dependencies() {
        let control = "Package: linux-image-amd64\nVersion: 6.1.192-2\n\
                       Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2), other\nSize: 1\n";
        assert_eq!(
            depended_kernel(control).as_deref(),
            Some("linux-image-6.1.0-56-amd64")
        );
        assert_eq!(depended_kernel("Package: linux-image-amd64\n"), None);
    }
}
