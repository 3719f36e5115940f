//! `cargo xtask`: reads the command line and runs one verb.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use xtask::bench::{self, Suite};
use xtask::guest_image::{self, DEFAULT_SIZE, Wish};
use xtask::machine::{Card, Disk, Options};
use xtask::paths::Paths;
use xtask::{build, demo, down, iso, keep, run, setup, test, up, xl};

/// Set-up, build, run, test and demo of Radon.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Gets what is missing: Rust target, QEMU, headers, Debian's kernels, a ramdisk.
    Setup {
        /// A PV-capable Linux kernel to use instead of Debian's.
        #[arg(long, value_name = "FILE")]
        kernel: Option<PathBuf>,
    },
    /// Builds everything for the machine.
    Build,
    /// Boots a host and gives the terminal to dom0's console (Ctrl-A X leaves).
    Run(HostArgs),
    /// Boots a host in the background and returns when dom0 is ready.
    Up {
        #[command(flatten)]
        host: HostArgs,
        /// Takes the images as they lie, without building anything.
        #[arg(long)]
        no_build: bool,
    },
    /// Runs dom0's `xl` on a host in the background.
    Xl {
        /// Which host.
        #[arg(long, default_value = "radon")]
        host: String,
        /// What follows `xl`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Ends a host in the background.
    Down {
        /// Which host.
        #[arg(long, default_value = "radon")]
        name: String,
    },
    /// The main job: a host, a Rust guest, Debian's kernels, and all gone again.
    Demo {
        /// Only the guests written in Rust.
        #[arg(long)]
        rust_guests: bool,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Measures what disks and networks cost a Debian guest, and prints tables.
    Bench {
        /// Only this.
        suite: Option<Suite>,
        #[command(flatten)]
        host: BenchArgs,
    },
    /// Makes a Debian for domains: an ext4 root image, its kernel and ramdisk.
    Image {
        /// Copies the root image there; without this, it lies in the build folder only.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The size of its file system.
        #[arg(long, default_value = DEFAULT_SIZE)]
        size: String,
        /// With cloud-init in it, and a `cidata` seed disk beside it.
        #[arg(long)]
        seed: bool,
    },
    /// Makes a bootable ISO, for BIOS and UEFI, with the sample guests.
    Iso {
        /// Where to put it; `build/radon.iso` otherwise.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Takes the images as they lie, without building anything.
        #[arg(long)]
        no_build: bool,
    },
    /// Runs all tests, or those whose name contains FILTER.
    Test {
        /// Part of a test's name.
        filter: Option<String>,
    },
    /// Keeps a background host's QEMU and serves its management channel.
    #[command(hide = true)]
    Keep(HostArgs),
}

#[derive(Args, Clone)]
struct HostArgs {
    /// The host's name.
    #[arg(long, default_value = "radon")]
    name: String,
    /// The host's memory.
    #[arg(long, default_value = "2G")]
    memory: String,
    /// The host's CPUs.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Counts instructions instead of time: one CPU, exactly repeatable.
    #[arg(long)]
    icount: bool,
    /// A raw image that the host has as a disk: FILE[,ro][,4k][,intx][,fault=SECTOR|flush]. May be repeated.
    #[arg(long = "disk", value_name = "FILE")]
    disks: Vec<String>,
    /// A network card: user[,hostfwd=tcp:127.0.0.1:PORT-ADDRESS:PORT][,mtu=N], or hub=N[,mtu=N]:
    /// cards on the same hub hear each other. May be repeated.
    #[arg(long = "net", value_name = "NETWORK")]
    nets: Vec<String>,
    /// More words for the core's command line.
    #[arg(long, default_value = "", value_name = "WORDS")]
    core_args: String,
    /// More words for dom0's command line.
    #[arg(long, default_value = "", value_name = "WORDS")]
    dom0_args: String,
}

/// Of the host that a bench boots: its disks and cards are given.
#[derive(Args, Clone)]
struct BenchArgs {
    /// The host's name.
    #[arg(long, default_value = "radon-bench")]
    name: String,
    /// Counts instructions instead of time: one CPU, figures that repeat.
    #[arg(long)]
    icount: bool,
    /// Takes the images as they lie, without building anything.
    #[arg(long)]
    no_build: bool,
    /// Runs only loads with this in their title.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    only: String,
}

impl TryFrom<HostArgs> for Options {
    type Error = anyhow::Error;

    fn try_from(args: HostArgs) -> Result<Self> {
        let disks = args.disks.iter().map(|text| Disk::parse(text));
        let cards = args.nets.iter().map(|text| Card::parse(text));
        Ok(Self {
            name: args.name,
            memory: args.memory,
            cpus: args.cpus,
            icount: args.icount,
            waits: false,
            disks: disks.collect::<Result<_>>()?,
            cards: cards.collect::<Result<_>>()?,
            core_args: args.core_args,
            dom0_args: args.dom0_args,
        })
    }
}

fn main() -> ExitCode {
    match perform(Cli::parse().verb) {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(verb: Verb) -> Result<u8> {
    let paths = Paths::find()?;
    match verb {
        Verb::Setup { kernel } => setup::setup(&paths, kernel.as_deref())?,
        Verb::Build => build::build_and_tell(&paths)?,
        Verb::Run(host) => return run::run(&paths, &host.try_into()?),
        Verb::Up { host, no_build } => up::up(&paths, &host.try_into()?, !no_build)?,
        Verb::Xl { host, args } => return xl::xl(&paths, &host, args),
        Verb::Down { name } => down::down(&paths, &name)?,
        Verb::Demo { rust_guests, host } => demo::demo(&paths, &host.try_into()?, rust_guests)?,
        Verb::Bench { suite, host } => {
            let mut options = Options::named(&host.name);
            (options.icount, options.waits) = (host.icount, true);
            let wish = bench::Wish {
                suite,
                only: host.only,
                build: !host.no_build,
            };
            bench::bench(&paths, &options, &wish)?;
        }
        Verb::Image { out, size, seed } => {
            guest_image::image(&paths, out.as_deref(), &Wish { size, seed })?;
        }
        Verb::Iso { out, no_build } => iso::iso(&paths, out.as_deref(), !no_build)?,
        Verb::Test { filter } => test::test(&paths, filter.as_deref())?,
        Verb::Keep(host) => keep::keep(&paths, &host.try_into()?)?,
    }
    Ok(0)
}
