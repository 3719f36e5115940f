//! `up`: a host in the background.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::client::Session;
use crate::machine::{HostDir, Options};
use crate::paths::Paths;
use crate::progress::Step;
use crate::setup;

/// How long dom0 may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Boots a host and returns when dom0 is ready; brings the images up to date first if `build`.
///
/// # Errors
///
/// If it cannot be built or started, or dom0 does not come up.
pub fn up(paths: &Paths, options: &Options, build: bool) -> Result<()> {
    if HostDir::open(paths, &options.name).is_ok() {
        bail!(
            "host {0} runs already: `cargo xtask down --name {0}` ends it",
            options.name
        );
    }
    if build {
        setup::ensure_for_hosts(paths)?;
        build::build(paths)?;
    }
    let step = Step::begin(format!("booting host {}", options.name));
    let mut keeper = spawn_keeper(paths, options)?;
    match wait_for_dom0(paths, &options.name, &mut keeper) {
        Ok(()) => {
            step.done();
            Ok(())
        }
        Err(why) => {
            if let Ok(host) = HostDir::open(paths, &options.name) {
                host.stop_qemu();
            }
            Err(why)
        }
    }
}

/// Starts the process that keeps the host, out of reach of our terminal's Ctrl-C.
fn spawn_keeper(paths: &Paths, options: &Options) -> Result<Child> {
    let folder = paths.host(&options.name);
    fs::create_dir_all(&folder)?;
    let log = File::create(folder.join("keeper.log"))?;
    let mut keeper = Command::new(std::env::current_exe()?);
    keeper.args(["keep", "--name", &options.name, "--memory", &options.memory]);
    keeper.args(["--cpus", &options.cpus.to_string()]);
    keeper.args([format!("--core-args={}", options.core_args)]);
    keeper.args([format!("--dom0-args={}", options.dom0_args)]);
    if options.icount {
        keeper.arg("--icount");
    }
    for disk in &options.disks {
        keeper.arg("--disk").arg(disk.to_string());
    }
    for card in &options.cards {
        keeper.arg("--net").arg(card.to_string());
    }
    keeper.current_dir(paths.root()).process_group(0);
    keeper
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    keeper.spawn().context("cannot start the host's keeper")
}

fn wait_for_dom0(paths: &Paths, name: &str, keeper: &mut Child) -> Result<()> {
    let folder = paths.host(name);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Ok(host) = HostDir::open(paths, name) else {
            check_keeper(&folder, name, keeper)?;
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match Session::wait_for_dom0(&host, left) {
            Ok(()) => return Ok(()),
            Err(_) if !left.is_zero() => {
                // The relay may not listen yet, or the host just ended: the keeper knows.
                check_keeper(&folder, name, keeper)?;
                thread::sleep(Duration::from_millis(20));
            }
            Err(_) => bail!(
                "dom0 of host {name} does not answer after {} s; the console's last line: {} (see {})",
                PATIENCE.as_secs(),
                host.last_words(),
                host.console_log().display()
            ),
        }
    }
}

/// An error if the keeper has ended, with its reason.
fn check_keeper(folder: &std::path::Path, name: &str, keeper: &mut Child) -> Result<()> {
    if keeper.try_wait()?.is_none() {
        return Ok(());
    }
    let said = fs::read_to_string(folder.join("keeper.log")).unwrap_or_default();
    let console = fs::read(folder.join("console.log")).unwrap_or_default();
    let console = String::from_utf8_lossy(&console).into_owned();
    let last = said
        .lines()
        .chain(console.lines())
        .rev()
        .find(|line| !line.trim().is_empty());
    bail!(
        "host {name} ended while it booted: {} (see {}/console.log)",
        last.unwrap_or("it said nothing").trim(),
        folder.display()
    )
}
