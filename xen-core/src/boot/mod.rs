//! From the loader to dom0's first instruction.
//!
//! The parsers here are pure; `arch` calls them in order and keeps what they found as the
//! [`Machine`].

pub mod acpi;
pub mod cmdline;
pub mod dom0;
pub mod loader;
pub mod memory_map;
pub mod multiboot;
pub mod multiboot2;
pub mod phys;

#[cfg(target_os = "none")]
use alloc::{borrow::ToOwned as _, format, string::String};

use acpi::Acpi;
use cmdline::Options;
use guest_abi::frame::PAGE_SHIFT;
use memory_map::{FreeRange, Kind};

#[cfg(target_os = "none")]
use crate::arch;
use crate::arch::clock;
use crate::mm::frame_table::PageInfo;
use crate::mm::{device_memory, heap};
use crate::sync::Once;

/// What start-up found out about the machine.
#[derive(Debug)]
pub struct Machine {
    /// What the loader said.
    pub loader: loader::BootInfo,
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
            module.arguments
        );
    }
    let (khz, scale) = (clock::tsc_hz() / 1000, clock::scale());
    log::info!(
        "clock: {khz} kHz (multiplier {:#x}, shift {}), {} cycles until the core's start",
        scale.mul,
        scale.shift,
        machine.start_tsc
    );
}

/// Gives memory to its owners: `table` becomes the frame table, `free` what is to be had.
pub fn start_memory(table: &'static [PageInfo], free: &[FreeRange]) {
    let machine = machine();
    let mut total = 0;
    for region in &machine.loader.regions {
        if region.kind == Kind::Ram {
            total += (region.end >> PAGE_SHIFT).saturating_sub(region.start >> PAGE_SHIFT);
            device_memory::add_ram(&(region.start..region.end));
        }
    }
    if let Some(acpi) = &machine.acpi {
        let page = |at: u64| at & !0xfff..(at | 0xfff) + 1;
        device_memory::deny(&page(acpi.local_apic));
        for io_apic in &acpi.io_apics {
            device_memory::deny(&page(io_apic.address));
        }
    }
    heap::start(
        table,
        free.iter().map(|range| range.start..range.end),
        total,
    );
    let mebibytes = heap::totals().free >> (20 - PAGE_SHIFT);
    log::info!("memory: {mebibytes} MiB free, {} frames known", table.len());
}

/// Builds dom0 from the first module (the second is its ramdisk), and lets it run.
///
/// # Panics
/// When that cannot be done: without dom0 the host is of no use.
#[cfg(target_os = "none")]
pub fn start_first_domain() {
    log::info!("{} CPUs are up", arch::percpu::online().len());
    let machine = machine();
    let Some(kernel) = arch::modules::take(0) else {
        panic!("no dom0: the loader passed no module (qemu: -initrd dom0)");
    };
    let ramdisk = arch::modules::take(1);
    let parts = dom0::Parts {
        kernel: &kernel,
        command_line: &dom0_arguments(machine),
        ramdisk: ramdisk.as_deref(),
        pages: dom0_pages(machine.options.dom0_mem),
        vcpus: match machine.options.dom0_max_vcpus {
            0 => arch::percpu::online().len(),
            count => count,
        },
    };
    let domain = match dom0::build(&parts) {
        Ok(domain) => domain,
        Err(error) => panic!("cannot build dom0: {error}"),
    };
    log::info!("dom0: {} MiB, {} vCPUs", parts.pages >> 8, parts.vcpus);
    if crate::sched::unpause(&domain).is_err() {
        panic!("dom0 does not start");
    }
}

/// dom0's command line. Where no BIOS has left ACPI's root pointer, a kernel is told by the word that
/// Linux knows.
#[cfg(target_os = "none")]
fn dom0_arguments(machine: &Machine) -> String {
    let module = machine.loader.modules.first();
    let given = module.map_or("", |module| module.arguments.as_str());
    let rsdp = machine.acpi.as_ref().and_then(|acpi| acpi.rsdp);
    match rsdp.filter(|at| *at >= acpi::BIOS_AREA.end) {
        Some(rsdp) => format!("{given} acpi_rsdp={rsdp:#x}"),
        None => given.to_owned(),
    }
}

/// dom0's size in pages: as asked for, else what its toolstack needs to unpack a big kernel, else
/// three quarters of a machine that is smaller than that.
#[cfg(target_os = "none")]
fn dom0_pages(asked_bytes: u64) -> u64 {
    const DEFAULT_PAGES: u64 = 256 << (20 - PAGE_SHIFT);
    match asked_bytes >> PAGE_SHIFT {
        0 => DEFAULT_PAGES.min(heap::totals().free / 4 * 3),
        asked => asked,
    }
}

/// A host under test starts no domain.
#[cfg(not(target_os = "none"))]
pub fn start_first_domain() {}
