//! `demo`: the main job from end to end.
//!
//! Boots a host; creates a Rust guest and Debian's two kernels; waits until each reports from its
//! userland; shows the list and a part of each console; shuts them down; shows that their memory
//! came back; powers the host off.

mod guests;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::build;
use crate::client::Session;
use crate::machine::{HostDir, Machine, Options, Serial};
use crate::paths::Paths;
use crate::progress::Step;
use crate::setup::{self, busybox, kernels};
use guests::Guest;

const DOM0_PATIENCE: Duration = Duration::from_secs(60);
const POWER_OFF_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the demo.
///
/// # Errors
///
/// If anything of it does not happen as it should; also if Debian's kernels cannot be had, unless
/// only Rust guests were asked for.
pub fn demo(paths: &Paths, options: &Options, rust_guests: bool) -> Result<()> {
    setup::ensure_for_hosts(paths)?;
    let left_out = if rust_guests {
        println!("left out: Debian's kernels, as asked");
        None
    } else {
        kernels::ensure(paths)
            .and_then(|()| busybox::ensure(paths))
            .err()
    };
    if let Some(why) = &left_out {
        println!("left out: {why:#}");
    }
    build::build(paths)?;

    let mut guests = vec![Guest::hello(paths)];
    if !rust_guests && left_out.is_none() {
        guests.extend(kernels::FLAVOURS.map(|flavour| Guest::debian(paths, flavour)));
    }
    perform(paths, options, &guests)?;
    match left_out {
        None => Ok(()),
        Some(_) => {
            bail!("the demo is not whole without Debian's kernels (--rust-guests says it is)")
        }
    }
}

fn perform(paths: &Paths, options: &Options, guests: &[Guest]) -> Result<()> {
    let parts = u64::try_from(2 * guests.len() + 4)?;
    let step = Step::parts("demo", parts);
    let at = |part: &str| {
        step.advance();
        step.at(part);
    };

    step.at("booting the host");
    let mut machine = Machine::start(paths, options, Serial::Background)?;
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
    let free_before = free_memory(&host)?;

    for guest in guests {
        at(&format!("creating {}", guest.name));
        guest.create(&host)?;
        step.at(&format!("waiting for {}", guest.name));
        let begun = Instant::now();
        let report = guest.wait_for_report(&host)?;
        let seconds = begun.elapsed().as_secs_f32();
        step.say(&format!(
            "{} reported after {seconds:.1} s: {report}",
            guest.name
        ));
    }

    at("looking around");
    step.say(&format!("\n$ xl list\n{}", xl(&host, &["list"])?));
    for guest in guests {
        let log = guest.console(&host)?;
        guest.check(&log)?;
        step.say(&format!(
            "$ xl console --log {}   (the end of it)\n{}\n",
            guest.name,
            tail(&log)
        ));
    }

    for guest in guests {
        at(&format!("shutting {} down", guest.name));
        xl(&host, &["shutdown", "-w", &guest.name])?;
    }

    at("counting memory");
    let free_after = settled_memory(&host, free_before)?;
    step.say(&format!(
        "free memory: {free_before} MiB before, {free_after} MiB after"
    ));
    ensure!(free_before == free_after, "memory was not given back");

    at("powering off");
    power_off(&mut machine, &host)?;
    step.done();
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

/// Runs `xl`, which must succeed, and returns its output.
fn xl(host: &HostDir, argv: &[&str]) -> Result<String> {
    let output = Session::run(host, argv)?;
    if output.status != 0 {
        let words = [output.stderr.trim(), output.stdout.trim()].join(" ");
        bail!(
            "xl {} failed ({}): {}",
            argv.join(" "),
            output.status,
            words.trim()
        );
    }
    Ok(output.stdout)
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
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn free_memory(host: &HostDir) -> Result<u64> {
    let info = xl(host, &["info"])?;
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
