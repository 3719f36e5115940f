//! `test`: all tests, cheapest first; the first stage that fails ends it.

use std::env;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{self, cargo};
use crate::command;
use crate::paths::Paths;
use crate::setup;

/// Runs all tests, or those whose name contains `filter`.
///
/// # Errors
///
/// If a stage fails; its own output says why.
pub fn test(paths: &Paths, filter: Option<&str>) -> Result<()> {
    setup::setup(paths, None)?;
    if filter.is_none() {
        stage(paths, "format", &["fmt", "--all", "--check"])?;
        stage(
            paths,
            "lints",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        )?;
    }
    let on_host = ["test", "--workspace"];
    stage(
        paths,
        "host tests",
        &[&on_host[..], filter.as_slice()].concat(),
    )?;

    build::build(paths)?;
    let scenarios = [
        "test",
        "--package",
        "radon-tests",
        "--features",
        "qemu",
        "--test",
        "image",
        "--test",
        "scenarios",
    ];
    // One host at a time: each may use all the CPUs there are.
    let threads = ["--", "--test-threads=1"];
    let whole = [&scenarios[..], filter.as_slice(), &threads].concat();
    stage(paths, "images, and whole systems in QEMU", &whole)?;
    println!("all tests passed");
    Ok(())
}

fn stage(paths: &Paths, name: &str, args: &[&str]) -> Result<()> {
    eprintln!("== {name}");
    let mut cargo = Command::new(cargo());
    cargo
        .args(args)
        .current_dir(paths.root())
        .env("RADON_XTASK", env::current_exe()?);
    command::run(&mut cargo).with_context(|| format!("{name} failed"))
}
