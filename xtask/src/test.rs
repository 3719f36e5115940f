//! `test`: all tests, cheapest first; the first stage that fails ends it.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::build::{self, cargo};
use crate::command;
use crate::guest_image::{self, Wish};
use crate::paths::Paths;
use crate::setup::{self, target};

/// Runs all tests, or those whose name contains `filter`.
///
/// The whole-system scenarios come last, and cargo's word on them is the last that is said.
///
/// # Errors
///
/// If a stage fails; its own output says why.
pub fn test(paths: &Paths, filter: Option<&str>) -> Result<()> {
    setup::setup(paths, None)?;
    guest_image::ensure(paths, &Wish::default())?;
    let mut stages = Stages::new(paths)?;
    if filter.is_none() {
        stages.run("format", cargo_with(&["fmt", "--all", "--check"]))?;
        stages.run("lints, on the host", lints_on_the_host())?;
        stages.run("lints, for the machine", lints_for_the_machine(paths)?)?;
    }
    let mut on_host = cargo_with(&["test", "--workspace"]);
    on_host.args(filter);
    stages.run("tests on the host, the ABI's among them", on_host)?;
    if filter.is_none() {
        stages.run("interleavings of atomics", interleavings())?;
    }
    build::build(paths)?;
    stages.tell();
    stages.run("images, and whole systems in QEMU", on_the_machine(filter))
}

fn cargo_with(args: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(args);
    command
}

fn lints_on_the_host() -> Command {
    let mut command = cargo_with(&["clippy", "--workspace", "--all-targets"]);
    // The scenarios are compiled only with this.
    command.args(["--features", "radon-tests/qemu"]);
    command.args(["--", "-D", "warnings"]);
    command
}

/// What is compiled for the machine only is seen by no lint on the host.
fn lints_for_the_machine(paths: &Paths) -> Result<Command> {
    let mut command = target::cargo_for_the_machine("clippy");
    command.args(["--lib", "--bins"]);
    for package in ["guest-abi", "xen-core", "backends", "dom0", "frontends"] {
        command.args(["--package", package]);
    }
    for (package, _) in build::guests(paths)? {
        command.args(["--package", &package]);
    }
    command.args(["--", "-D", "warnings"]);
    Ok(command)
}

/// The models that `loom` runs through every interleaving. They need another kind of atomics, so
/// what is built for them is kept apart.
fn interleavings() -> Command {
    let mut command = cargo_with(&["test", "--package", "xen-core", "--lib"]);
    command.args(["--target-dir", "target/loom", "loom_tests"]);
    command.env("RUSTFLAGS", "--cfg loom");
    command
}

/// The harness sees to it that no more than two hosts run at once.
fn on_the_machine(filter: Option<&str>) -> Command {
    let mut command = cargo_with(&["test", "--package", "radon-tests", "--features", "qemu"]);
    command.args(["--test", "image", "--test", "scenarios"]);
    command.args(filter);
    command.args(["--", "--test-threads=2"]);
    command
}

/// What is run one after the other, and how long each took.
struct Stages<'a> {
    paths: &'a Paths,
    /// This program, which the scenarios drive. Asked for at once: a stage may build it anew.
    xtask: PathBuf,
    begun: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl<'a> Stages<'a> {
    fn new(paths: &'a Paths) -> Result<Self> {
        Ok(Self {
            paths,
            xtask: env::current_exe()?,
            begun: Instant::now(),
            done: Vec::new(),
        })
    }

    fn run(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        eprintln!("== {name} (after {} s)", self.begun.elapsed().as_secs());
        let begun = Instant::now();
        command
            .current_dir(self.paths.root())
            .env("RADON_XTASK", &self.xtask);
        command::run(&mut command).with_context(|| format!("{name}: failed"))?;
        self.done.push((name, begun.elapsed()));
        Ok(())
    }

    /// The stages so far, each with its time.
    fn tell(&self) {
        for (name, time) in &self.done {
            eprintln!("passed: {name} ({:.1} s)", time.as_secs_f32());
        }
    }
}
