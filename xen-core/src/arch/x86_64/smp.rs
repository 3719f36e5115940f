//! Bringing up the other CPUs, one after the other.
//!
//! 1. The boot CPU maps the new one's stack region and descriptor window.
//! 2. It copies the trampoline to a page below 1 MiB, with root, stack and entry point.
//! 3. INIT, then STARTUP (again and again if nothing happens) start the CPU there.
//! 4. The new CPU comes out in [`ap_start`] on its own stack, sets itself up and reports.

use core::arch::global_asm;

use guest_abi::frame::{MachAddr, Mfn};

use super::paging::bits;
use super::{apic, clock, direct_map, frames, paging, percpu, start, windows};
use crate::arch::layout::IMAGE_OFFSET;
use crate::cpu::{CpuId, MAX_CPUS};

global_asm!(include_str!("trampoline.S"), options(att_syntax));

unsafe extern "C" {
    static ap_trampoline: u8;
    static ap_trampoline_end: u8;
    static ap_parameters: u8;
    static boot_l4: u8;
}

const TRAMPOLINE: MachAddr = MachAddr::new(0x8000);
const TRAMPOLINE_PAGE: u8 = 8;
/// How long a CPU may take until it gets another STARTUP: it ignores one that comes before it has
/// dealt with the INIT, and any that comes once it runs.
const PATIENCE_NS: u64 = 500_000;
/// After how many a CPU is given up.
const ATTEMPTS: u32 = 1000;

/// Maps a CPU's stack region and descriptor window; `None` without memory.
pub(super) fn prepare(cpu: CpuId) -> Option<()> {
    for page in percpu::MAPPED_PAGES {
        let frame = frames::alloc_zeroed()?.to_maddr().get();
        paging::map(percpu::region(cpu) + page * 0x1000, frame, bits::DATA).then_some(())?;
    }
    windows::create(cpu)
}

/// Starts all CPUs of the machine but this one, at most `limit` with it.
pub(super) fn start_all(apic_ids: &[u32], limit: u32) {
    let this = percpu::apic_id(CpuId::BOOT);
    let limit = usize::try_from(limit).unwrap_or(MAX_CPUS).min(MAX_CPUS);
    copy_trampoline();
    let others = apic_ids.iter().filter(|id| **id != this);
    let numbers = (1..limit).filter_map(CpuId::try_new);
    for (apic_id, cpu) in others.zip(numbers) {
        if prepare(cpu).is_none() {
            log::error!("no memory for CPU {cpu}");
            return;
        }
        percpu::set_apic_id(cpu, *apic_id);
        if !start_one(cpu, *apic_id) {
            log::error!("CPU {cpu} (APIC {apic_id}) does not start");
        }
    }
}

fn copy_trampoline() {
    let from = &raw const ap_trampoline as u64 - IMAGE_OFFSET;
    let bytes = &raw const ap_trampoline_end as usize - &raw const ap_trampoline as usize;
    direct_map::copy(MachAddr::new(from), TRAMPOLINE, bytes);
    // The loader's tables map low memory where it is; the rest they get from the core's.
    let low = direct_map::table(Mfn::new((&raw const boot_l4 as u64 - IMAGE_OFFSET) >> 12));
    for (slot, entry) in (256..).zip(paging::core_slots()) {
        low.store(slot, entry);
    }
}

fn start_one(cpu: CpuId, apic_id: u32) -> bool {
    let root = &raw const boot_l4 as u64 - IMAGE_OFFSET;
    let entry = ap_start as extern "C" fn(u64) -> ! as usize as u64;
    let offset = &raw const ap_parameters as u64 - &raw const ap_trampoline as u64;
    let values = [root, percpu::stack_top(cpu), entry, cpu.index() as u64];
    for (place, value) in (0..).step_by(8).zip(values) {
        direct_map::word(MachAddr::new(TRAMPOLINE.get() + offset + place))
            .store(value, core::sync::atomic::Ordering::SeqCst);
    }
    apic::send_init(apic_id);
    (0..ATTEMPTS).any(|_| {
        apic::send_startup(apic_id, TRAMPOLINE_PAGE);
        wait_for(cpu)
    })
}

fn wait_for(cpu: CpuId) -> bool {
    let end = clock::now() + PATIENCE_NS;
    while !percpu::online().contains(cpu) {
        if clock::now() > end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Where a new CPU enters Rust, on its own stack.
extern "C" fn ap_start(number: u64) -> ! {
    let cpu = usize::try_from(number)
        .ok()
        .and_then(CpuId::try_new)
        .unwrap_or(CpuId::BOOT);
    start::init_cpu(cpu);
    start::run_cpu()
}
