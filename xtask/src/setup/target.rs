//! The Rust target of the machine: rustup's, or Debian's sources of the standard library.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::packages;
use crate::build::cargo;
use crate::command;
use crate::progress::Step;

/// The target the core, dom0 and the guests are built for.
pub const TARGET: &str = "x86_64-unknown-none";
/// Debian's compiler, which comes with the sources its library can be built from.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Makes sure that something can be built for the machine.
///
/// # Errors
///
/// If neither way works.
pub fn ensure() -> Result<()> {
    if is_installed() || sources().is_some() {
        return Ok(());
    }
    let mut reason = "no rustup".to_owned();
    if command::exists("rustup") {
        let step = Step::begin(format!("installing the Rust target {TARGET}"));
        match command::capture(Command::new("rustup").args(["target", "add", TARGET])) {
            Ok(_) => {
                step.done();
                return Ok(());
            }
            Err(why) => reason = format!("{why:#}"),
        }
    }
    eprintln!(
        "rustup could not install {TARGET} ({reason}): trying Debian's {}",
        DEBIAN.join(" ")
    );
    packages::install(&DEBIAN).with_context(|| format!("no Rust target {TARGET} ({reason})"))?;
    if sources().is_none() {
        bail!(
            "{} are installed, but have no library sources where rustc looks",
            DEBIAN.join(" ")
        );
    }
    Ok(())
}

/// A verb of cargo's, for the machine, by whichever way there is.
#[must_use]
pub fn cargo_for_the_machine(verb: &str) -> Command {
    let mut command = Command::new(cargo());
    command.args([verb, "--target", TARGET]);
    if !is_installed() && sources().is_some() {
        command.args(["-Z", "build-std=core,alloc,compiler_builtins"]);
        command.args(["-Z", "build-std-features=compiler-builtins-mem"]);
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command
}

fn is_installed() -> bool {
    rustc(&["--print", "target-libdir", "--target", TARGET]).is_some_and(|folder| {
        Path::new(&folder)
            .read_dir()
            .is_ok_and(|mut files| files.next().is_some())
    })
}

/// Where the library's sources are, if they are.
fn sources() -> Option<String> {
    let root = rustc(&["--print", "sysroot"])?;
    let sources = format!("{root}/lib/rustlib/src/rust/library");
    Path::new(&sources).join("core").is_dir().then_some(sources)
}

fn rustc(args: &[&str]) -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    command::capture(Command::new(rustc).args(args))
        .ok()
        .map(|text| text.trim().to_owned())
}
