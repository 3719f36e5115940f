//! From the loader to the first domain, in the order in which things come to life.
//!
//! 1. On the boot stack, under the loader's tables: serial port, log, what the loader says.
//! 2. The core's own page tables, the boot CPU's stack region; from here on that stack.
//! 3. Descriptor tables, interrupt controllers, clocks.
//! 4. Frame table, machine-to-phys table, frame allocator.
//! 5. The other CPUs, then the first domain.

use core::arch::{asm, global_asm};

use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

use super::direct_map::Physical;
use super::paging::{LARGE_PAGE, LARGE_STEP, bits};
use super::{
    apic, clock, entry, exit, frames, gdt, idt, image, ioapic, irq, m2p, paging, percpu, power,
    segments, serial, smp, timer, tlb,
};
use crate::arch::layout::{DIRECT_MAP_BASE, DIRECT_MAP_LIMIT};
use crate::boot::loader::BootInfo;
use crate::boot::memory_map::{Kind, MemoryMap, Region};
use crate::boot::{self, Machine, acpi, cmdline, loader};
use crate::cpu::CpuId;
use crate::debug;

global_asm!(include_str!("boot.S"), options(att_syntax));

/// What the loader's tables map.
const EARLY: Physical = Physical { limit: 4 << 30 };
const LOW_MEMORY: u64 = 0x10_0000;
/// The page attributes that Xen's guests expect: WB, WT, UC-, UC, WC, WP, UC, UC.
const PAT: Msr = Msr::new(0x277);
const PAT_VALUE: u64 = 0x0000_0501_0007_0406;

/// Where `boot.S` enters Rust: the physical address of the multiboot information, and the magic
/// number that says which.
#[unsafe(no_mangle)]
extern "C" fn boot_start(information: u64, magic: u32) -> ! {
    let tsc = clock::tsc();
    serial::init(cmdline::Options::default().baud);
    debug::log::init();
    let loader = loader::read(&EARLY, magic, information);
    let loader = loader.unwrap_or_else(|problem| panic!("the loader is no use: {problem}"));
    let options = cmdline::parse(&loader.command_line, |_| ());
    image::find_symbols(&EARLY);
    frames::begin(free_memory(&loader));
    let acpi = acpi::parse(&EARLY, &loader);
    boot::set_machine(Machine {
        loader,
        options,
        acpi,
        start_tsc: tsc,
    });

    let mapped = paging::create_root() && image::map() && map_ram(&boot::machine().loader.regions);
    assert!(
        mapped,
        "not enough memory below 4 GiB for the core's page tables"
    );
    assert!(boot_stack_sufficed(), "the boot stack overflowed");
    // This still runs on the boot stack, where no CPU has a name yet.
    load_first_root();
    assert!(
        smp::prepare(CpuId::BOOT).is_some(),
        "no memory for the boot CPU's stack"
    );
    // SAFETY: the stack was just mapped, and nothing on the old one is needed any more.
    unsafe {
        asm!("mov rsp, {}", "xor ebp, ebp", "call {}", "ud2",
            in(reg) percpu::stack_top(CpuId::BOOT), sym boot_on_stack, options(noreturn));
    }
}

/// Whether the boot stack's lowest page is as the loader left it: full of zeros.
fn boot_stack_sufficed() -> bool {
    unsafe extern "C" {
        #[link_name = "boot_stack"]
        static LOWEST_PAGE: [u64; 512];
    }
    // SAFETY: boot.S defines it, longer and aligned, and nobody writes there while this looks.
    let page = unsafe { &LOWEST_PAGE };
    page.iter().all(|word| *word == 0)
}

/// All RAM but low memory, the image, and the modules.
fn free_memory(loader: &BootInfo) -> MemoryMap {
    let mut map = MemoryMap::new(&loader.regions);
    map.reserve(0, LOW_MEMORY);
    let (start, end) = image::physical_range();
    map.reserve(start, end);
    for module in &loader.modules {
        map.reserve(module.start, module.end);
    }
    map
}

/// Maps RAM and what firmware keeps in RAM, in whole large pages.
fn map_ram(regions: &[Region]) -> bool {
    let is_memory = |kind| matches!(kind, Kind::Ram | Kind::AcpiTables | Kind::AcpiStorage);
    let low = core::iter::once((0, LOW_MEMORY));
    let memory = regions.iter().filter(|region| is_memory(region.kind));
    low.chain(memory.map(|region| (region.start, region.end)))
        .all(|(start, end)| {
            (start & !(LARGE_PAGE - 1)..end.min(DIRECT_MAP_LIMIT))
                .step_by(LARGE_STEP)
                .all(|at| paging::map_large(DIRECT_MAP_BASE + at, at, bits::DATA))
        })
}

fn load_first_root() {
    let root = paging::core_root().to_maddr().get();
    // SAFETY: the new tables map image, boot stack and all RAM as the old ones did.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

/// The rest of the boot CPU's start, on its own stack.
extern "C" fn boot_on_stack() -> ! {
    let machine = boot::machine();
    let options = &machine.options;
    serial::init(options.baud);
    debug::log::configure(
        options.log_level,
        options.guest_log_level,
        options.serial_console,
    );
    idt::fill();
    start_clocks(machine);
    init_cpu(CpuId::BOOT);
    boot::greet();
    if let Some(acpi) = &machine.acpi {
        ioapic::init(acpi);
        acpi.power.into_iter().for_each(power::set_switch);
    }
    start_memory(&machine.loader.regions);
    if let Some(acpi) = &machine.acpi {
        smp::start_all(&acpi.cpus, options.max_cpus);
    }
    irq::bind_serial();
    boot::start_first_domain();
    run_cpu()
}

/// Reaches the local APIC and measures the clocks.
fn start_clocks(machine: &Machine) {
    let default = 0xfee0_0000;
    let address = machine
        .acpi
        .as_ref()
        .map_or(default, |acpi| acpi.local_apic);
    assert!(apic::find(address), "no memory to map the local APIC");
    mask_legacy_controllers();
    apic::init_cpu();
    apic::start_timer(u32::MAX);
    let timer_hz = clock::calibrate(machine.start_tsc, timer::elapsed);
    apic::start_timer(0);
    timer::init(timer_hz);
}

/// Frame table, machine-to-phys table, frame allocator.
fn start_memory(regions: &[Region]) {
    let ram = regions.iter().filter(|region| region.kind == Kind::Ram);
    let end = ram
        .map(|region| region.end)
        .max()
        .unwrap_or(0)
        .min(DIRECT_MAP_LIMIT);
    let frame_count = end >> 12;
    assert!(
        m2p::create(frame_count),
        "no memory for the machine-to-phys table"
    );
    let table = usize::try_from(frame_count)
        .ok()
        .and_then(frames::zeroed_table);
    let table = table.unwrap_or_else(|| panic!("no memory for the frame table"));
    boot::start_memory(table, &frames::hand_over());
}

/// Sets up the CPU this runs on, which has its stack region already.
pub(super) fn init_cpu(cpu: CpuId) {
    gdt::load(cpu);
    idt::load();
    entry::init_cpu(cpu);
    let mut pat = PAT;
    // SAFETY: the attributes that the core's own pages use stay what they are at reset.
    unsafe { pat.write(PAT_VALUE) };
    let mut flags = Cr4Flags::PAGE_GLOBAL
        | Cr4Flags::PHYSICAL_ADDRESS_EXTENSION
        | Cr4Flags::MACHINE_CHECK_EXCEPTION
        | Cr4Flags::OSFXSR
        | Cr4Flags::OSXMMEXCPT_ENABLE;
    if super::cpuid(7, 0).ebx & 1 << 7 != 0 {
        flags |= Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION;
    }
    // SAFETY: what long mode needs stays on; the core executes none of ring 3's pages.
    unsafe { Cr4::write(flags) };
    segments::init_cpu();
    percpu::set_apic_id(cpu, apic::init_cpu());
    tlb::load_root(paging::core_root());
    timer::init_cpu();
    percpu::set_online(cpu);
}

/// What a CPU does from now on: runs vCPUs, and sleeps when there are none.
pub(super) fn run_cpu() -> ! {
    exit::start()
}

/// The legacy interrupt controllers stay silent: vectors from 0x20 on, all masked.
fn mask_legacy_controllers() {
    use super::io::outb;
    for (base, vector, wiring) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
        for (port, value) in [
            (base, 0x11),
            (base + 1, vector),
            (base + 1, wiring),
            (base + 1, 1),
        ] {
            outb(port, value);
        }
        outb(base + 1, 0xff);
    }
}
