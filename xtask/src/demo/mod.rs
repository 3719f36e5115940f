//! `demo`: the main job from end to end.
//!
//! Boots a host with two disks and a network card; creates a Rust guest, Debian's two kernels with
//! a small userland each, and a whole Debian on an overlay over a shared image; waits until each
//! reports; shows the list, a part of each console, and what the overlay holds; logs in to the
//! Debian by SSH; shuts all of them down; shows that their memory came back; powers the host off.

mod guests;
mod login;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::build;
use crate::client::Session;
use crate::machine::{HostDir, Machine, Options, Serial};
use crate::paths::Paths;
use crate::progress::Step;
use crate::setup::{self, busybox, kernels};
use guests::Guest;
use login::Login;

const DOM0_PATIENCE: Duration = Duration::from_secs(60);
const POWER_OFF_PATIENCE: Duration = Duration::from_secs(10);
/// How long a Debian may take to end by itself.
const END_PATIENCE: Duration = Duration::from_secs(90);

/// Runs the demo.
///
/// # Errors
///
/// If anything of it does not happen as it should; also if Debian cannot be had, unless only Rust
/// guests were asked for.
pub fn demo(paths: &Paths, options: &Options, rust_guests: bool) -> Result<()> {
    let mut options = options.clone();
    setup::ensure_for_hosts(paths)?;
    let debian = if rust_guests {
        println!("left out: Debian, as asked");
        None
    } else {
        Some(prepare_debian(paths, &mut options))
    };
    if let Some(Err(why)) = &debian {
        println!("left out: {why:#}");
    }
    build::build(paths)?;

    let login = debian.as_ref().and_then(|debian| debian.as_ref().ok());
    let mut guests = vec![Guest::hello(paths)];
    if let Some(login) = login {
        guests.extend(kernels::FLAVOURS.map(|flavour| Guest::kernel(paths, flavour)));
        guests.push(Guest::debian(&login.image));
    }
    perform(paths, &options, &mut guests, login)?;
    if let Some(Err(_)) = debian {
        bail!("the demo is not whole without Debian (--rust-guests says it is)");
    }
    Ok(())
}

/// Debian's kernels, and the disk and the card of the whole Debian.
fn prepare_debian(paths: &Paths, options: &mut Options) -> Result<Login> {
    kernels::ensure(paths)?;
    busybox::ensure(paths)?;
    Login::prepare(paths, options)
}

fn perform(
    paths: &Paths,
    options: &Options,
    guests: &mut [Guest],
    login: Option<&Login>,
) -> Result<()> {
    let parts = u64::try_from(3 * guests.len() + 5)?;
    let step = Step::parts("demo", parts);
    step.at("booting the host");
    let mut machine = Machine::start(paths, options, Serial::Background)?;
    let host = boot(paths, options, &step)?;
    if let Some(login) = login {
        login.make_disk(&host)?;
    }
    let free_before = free_memory(&host)?;

    create(&host, guests, &step)?;
    look_around(&host, guests, &step)?;
    if let Some(login) = login {
        next(&step, "logging in");
        login.visit(&step)?;
    }
    end(&host, guests, login.is_some(), &step)?;
    if login.is_some() {
        step.say(&format!(
            "$ xl vol list\n{}",
            Session::run_well(&host, &["vol", "list"])?
        ));
    }

    next(&step, "counting memory");
    let free_after = settled_memory(&host, free_before)?;
    step.say(&format!(
        "free memory: {free_before} MiB before, {free_after} MiB after"
    ));
    ensure!(free_before == free_after, "memory was not given back");

    next(&step, "powering off");
    power_off(&mut machine, &host)?;
    step.done();
    Ok(())
}

/// One part is done, and another begins.
fn next(step: &Step, part: &str) {
    step.advance();
    step.at(part);
}

fn boot(paths: &Paths, options: &Options, step: &Step) -> Result<HostDir> {
    let host = HostDir::open(paths, &options.name)?;
    Session::wait_for_dom0(&host, DOM0_PATIENCE).with_context(|| {
        format!(
            "{} (see {})",
            host.last_words(),
            host.console_log().display()
        )
    })?;
    step.say(&format!(
        "dom0 was ready {:.2} s after QEMU's start",
        step.elapsed().as_secs_f32()
    ));
    Ok(host)
}

/// Creates all guests, so that they start side by side, and waits for the report of each.
fn create(host: &HostDir, guests: &mut [Guest], step: &Step) -> Result<()> {
    for guest in &mut *guests {
        next(step, &format!("creating {}", guest.name));
        guest.create(host)?;
    }
    for guest in guests {
        next(step, &format!("waiting for {}", guest.name));
        let (report, time) = guest.wait_for_report(host)?;
        let seconds = time.as_secs_f32();
        step.say(&format!(
            "{} reported after {seconds:.1} s: {report}",
            guest.name
        ));
    }
    Ok(())
}

fn look_around(host: &HostDir, guests: &[Guest], step: &Step) -> Result<()> {
    next(step, "looking around");
    step.say(&format!(
        "\n$ xl list\n{}",
        Session::run_well(host, &["list"])?
    ));
    for guest in guests {
        let log = guest.console(host)?;
        guest.check(&log)?;
        step.say(&format!(
            "$ xl console --log {}   (the end of it)\n{}\n",
            guest.name,
            tail(&log)
        ));
    }
    Ok(())
}

/// Shuts all guests down; the last one may be on its way out by itself.
fn end(host: &HostDir, guests: &[Guest], last_ends_itself: bool, step: &Step) -> Result<()> {
    for (left, guest) in (0..guests.len()).rev().zip(guests) {
        next(step, &format!("shutting {} down", guest.name));
        if left == 0 && last_ends_itself {
            wait_until_gone(host, &guest.name)?;
        } else {
            Session::run_well(host, &["shutdown", "-w", &guest.name])?;
        }
    }
    Ok(())
}

fn wait_until_gone(host: &HostDir, name: &str) -> Result<()> {
    let deadline = Instant::now() + END_PATIENCE;
    while Session::run(host, &["domid", name])?.status == 0 {
        ensure!(Instant::now() < deadline, "{name} did not power itself off");
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Tells dom0 to power the machine off.
fn power_off(machine: &mut Machine, host: &HostDir) -> Result<()> {
    // The answer may be cut off by the very end it asks for.
    let _ = Session::run(host, &["poweroff"]);
    let over = machine.wait_until(Instant::now() + POWER_OFF_PATIENCE)?;
    ensure!(over, "the host did not power off");
    Ok(())
}

/// Free memory once it is back at `expected`, or after a while: the last frames of a domain go when
/// the last of its CPUs has left it, a moment after its end is known.
fn settled_memory(host: &HostDir, expected: u64) -> Result<u64> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let free = free_memory(host)?;
        if free == expected || Instant::now() > deadline {
            return Ok(free);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn free_memory(host: &HostDir) -> Result<u64> {
    let info = Session::run_well(host, &["info"])?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("free_memory"));
    let value = line.and_then(|line| line.split(':').nth(1)).map(str::trim);
    value
        .and_then(|value| value.parse().ok())
        .context("xl info tells no free_memory")
}

/// The last lines of a console.
fn tail(log: &str) -> String {
    const LINES: usize = 6;
    let lines: Vec<_> = log
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines
        .get(lines.len().saturating_sub(LINES)..)
        .unwrap_or_default()
        .join("\n")
}
