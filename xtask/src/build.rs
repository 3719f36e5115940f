//! `build`: everything for the machine, release profile.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;
use crate::image::{flatten, strip};
use crate::paths::Paths;
use crate::progress::Step;
use crate::setup::{self, target};

/// Builds, and prints where the images lie.
///
/// # Errors
///
/// If something is missing or does not compile.
pub fn build_and_tell(paths: &Paths) -> Result<()> {
    build(paths)?;
    println!("core   {}", paths.core_image().display());
    println!("dom0   {}", paths.dom0_image().display());
    for (_, name) in guests(paths)? {
        println!("guest  {}", paths.guest_image(&name).display());
    }
    Ok(())
}

/// Builds the core, dom0 and all Rust guests.
///
/// # Errors
///
/// If something is missing or does not compile.
pub fn build(paths: &Paths) -> Result<()> {
    setup::ensure_for_build(paths)?;
    let guests = guests(paths)?;
    let step = Step::begin("building for the machine");
    let programs = compile(paths, guests.iter().map(|(package, _)| package.as_str()))?;
    let program = |name: &str| {
        let path = programs
            .get(name)
            .with_context(|| format!("cargo built no {name}"))?;
        fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };

    fs::create_dir_all(paths.images().join("guests"))?;
    let core = program("xen-core")?;
    write(&paths.core_image(), &flatten(&core).context("xen-core")?)?;
    write(&paths.core_image().with_extension("elf"), &core)?;
    let dom0 = program("dom0")?;
    write(&paths.dom0_image(), &strip(&dom0).context("dom0")?)?;
    write(&paths.dom0_image().with_extension("elf"), &dom0)?;
    for (package, name) in &guests {
        let guest = strip(&program(package)?).with_context(|| package.clone())?;
        write(&paths.guest_image(name), &guest)?;
    }
    step.done();
    Ok(())
}

/// The Rust guests: package and folder name of each.
///
/// # Errors
///
/// If cargo cannot tell.
pub fn guests(paths: &Paths) -> Result<Vec<(String, String)>> {
    let text = command::capture(
        Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(paths.root()),
    )?;
    let metadata: Value = serde_json::from_str(&text)?;
    let folder = paths.root().join("tests/guests");
    let mut guests = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let Some(home) = manifest.parent().filter(|home| home.starts_with(&folder)) else {
            continue;
        };
        if let (Some(package), Some(name)) = (package["name"].as_str(), home.file_name()) {
            guests.push((package.to_owned(), name.to_string_lossy().into_owned()));
        }
    }
    guests.sort();
    Ok(guests)
}

/// Compiles, and tells which file each program became.
fn compile<'a>(
    paths: &Paths,
    guests: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = target::cargo_for_the_machine("build");
    cargo
        .current_dir(paths.root())
        .args(["--bins", "--profile", "image"]);
    for package in ["xen-core", "dom0"].into_iter().chain(guests) {
        cargo.args(["--package", package]);
    }
    cargo
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cannot run cargo")?;
    let mut programs = BTreeMap::new();
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines())
    {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        let name = message["target"]["name"].as_str();
        if let (Some(name), Some(file)) = (name, message["executable"].as_str()) {
            programs.insert(name.to_owned(), file.into());
        }
    }
    if !child.wait()?.success() {
        bail!("the build failed: see cargo's messages above");
    }
    Ok(programs)
}

/// Cargo itself, as it runs us.
#[must_use]
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Writes a file unless it holds just that, so that times of change mean something.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
