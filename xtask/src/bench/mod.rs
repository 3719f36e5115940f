//! `bench`: what disks and networks cost, with a whole Debian at the guest's end.
//!
//! Boots a host of its own, with the guest image, an empty disk and a card; runs fixed loads in
//! guests that run nothing else; prints a table. With `--icount` the figures are executed
//! instructions of the whole machine, which repeat and do not depend on how busy this machine is;
//! without it they are bytes and operations a second.

mod disks;
mod meter;
mod networks;
mod peer;
mod shell;
mod table;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::build;
use crate::client::Session;
use crate::guest_image::{self, GuestImage};
use crate::machine::{Card, Disk, HostDir, Machine, Options, Serial};
use crate::paths::Paths;
use crate::progress::Step;
use crate::setup;

const DOM0_PATIENCE: Duration = Duration::from_secs(60);
/// The size of the disk that loads write to: all holes at first.
const SCRATCH_BYTES: u64 = 2 << 30;
/// How many loads there are in each suite, at most.
const LOADS: u64 = 8;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// A guest's blocks, by blkfront.
    Disks,
    /// A guest's packets, by netfront.
    Networks,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// One suite, or all of them.
    pub suite: Option<Suite>,
    /// Only loads with this in their title.
    pub only: String,
    /// Whether to bring the images up to date first.
    pub build: bool,
}

/// What the suites are given.
#[derive(Debug)]
struct Bench<'a> {
    host: &'a HostDir,
    image: &'a GuestImage,
    /// Where our own guests lie.
    guests: PathBuf,
    icount: bool,
    /// Only loads with this in their title.
    only: &'a str,
}

impl Bench<'_> {
    /// Ends a guest, which has nothing to lose.
    fn end(&self, guest: &str) -> Result<()> {
        Session::run_well(self.host, &["destroy", guest]).map(drop)
    }
}

/// Measures what is asked for, and prints the tables.
///
/// # Errors
///
/// If the host or a guest cannot be had, or a load fails.
pub fn bench(paths: &Paths, options: &Options, wish: &Wish) -> Result<()> {
    setup::ensure_for_hosts(paths)?;
    let image = guest_image::ensure(paths, &guest_image::Wish::default())?;
    if wish.build {
        build::build(paths)?;
    }
    let both = vec![Suite::Disks, Suite::Networks];
    let suites = wish.suite.map_or(both, |suite| vec![suite]);
    for suite in suites {
        let table = measure(paths, options, &image, suite, &wish.only)?;
        println!("\n{table}");
    }
    Ok(())
}

/// Boots a host for one suite and runs it.
fn measure(
    paths: &Paths,
    options: &Options,
    image: &GuestImage,
    suite: Suite,
    only: &str,
) -> Result<table::Table> {
    let name = format!("{suite:?}").to_lowercase();
    let step = Step::parts(format!("bench of {name}"), LOADS);
    step.at("booting the host");
    let (machine, host) = boot(paths, options, image)?;
    let bench = Bench {
        host: &host,
        image,
        guests: paths.images().join("guests"),
        icount: options.icount,
        only,
    };
    let table = match suite {
        Suite::Disks => disks::run(&bench, &step),
        Suite::Networks => networks::run(&bench, &step),
    };
    let table = table.with_context(|| format!("host {} is given up", options.name))?;
    drop(machine);
    step.done();
    Ok(table)
}

/// Boots a host with the image, which nobody can write, a scratch disk, and a card.
fn boot(paths: &Paths, options: &Options, image: &GuestImage) -> Result<(Machine, HostDir)> {
    let scratch = Scratch::make(image.folder(), &options.name)?;
    let mut options = options.clone();
    let root = format!("{},ro", image.root().display());
    options.disks = vec![
        Disk::parse(&root)?,
        Disk::parse(&scratch.0.display().to_string())?,
    ];
    options.cards = vec![Card::parse("user")?];
    let machine = Machine::start(paths, &options, Serial::Background)?;
    let host = HostDir::open(paths, &options.name)?;
    Session::wait_for_dom0(&host, DOM0_PATIENCE).with_context(|| host.last_words())?;
    // QEMU holds its disks open by now: the name of the scratch disk may go.
    Ok((machine, host))
}

/// An empty file whose name goes with this value.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn make(folder: &Path, name: &str) -> Result<Self> {
        let scratch = Self(folder.join(format!("{name}-scratch.img")));
        File::create(&scratch.0)?.set_len(SCRATCH_BYTES)?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
