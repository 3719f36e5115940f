//! Descriptor windows: where a CPU sees the descriptor tables of the vCPU that is loaded.
//!
//! 16 pages of GDT, then 16 pages of LDT, not mapped globally: the switch to another vCPU changes
//! entries and loads CR3, which drops the old translations. They are writable (in ring 0) because
//! the CPU sets the accessed bit of descriptors. A page without a frame shows zeros, so a selector
//! there is refused with #GP rather than a page fault in ring 0.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::frame::{MachAddr, Mfn, PAGE_SIZE};

use super::direct_map::TableView;
use super::paging::bits;
use super::{direct_map, frames, gdt, paging};
use crate::arch::layout::{WINDOW, WINDOW_LDT, WINDOWS_BASE};
use crate::cpu::{CpuId, MAX_CPUS};

/// The pages of a GDT that show a guest's frames.
pub const GDT_PAGES: usize = 14;
/// The pages of an LDT.
pub const LDT_PAGES: usize = 16;

const EMPTY: u64 = bits::PRESENT | bits::USED | bits::NO_EXECUTE;
const SHOWN: u64 = EMPTY | bits::WRITABLE;

static ZERO_PAGE: AtomicU64 = AtomicU64::new(0);
/// The frame of the level-1 table that maps each CPU's window, all of it; 0 until there is one.
/// Each switch of vCPUs writes there.
static TABLES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// What a level-1 table maps.
const TABLE_SPAN: u64 = 512 * PAGE_SIZE as u64;
const _: () = assert!(WINDOWS_BASE.is_multiple_of(TABLE_SPAN) && TABLE_SPAN.is_multiple_of(WINDOW));

/// Maps a CPU's window and fills its own page; `None` if there is no memory.
pub(super) fn create(cpu: CpuId) -> Option<()> {
    if ZERO_PAGE.load(Ordering::Relaxed) == 0 {
        ZERO_PAGE.store(frames::alloc_zeroed()?.get(), Ordering::Relaxed);
    }
    let own = frames::alloc_zeroed()?;
    gdt::fill_own_page(cpu, own);
    for offset in (0..WINDOW).step_by(PAGE_SIZE) {
        let is_own = offset == gdt::OWN_PAGE as u64 * PAGE_SIZE as u64;
        let (frame, flags) = if is_own {
            (own.get(), bits::DATA)
        } else {
            (ZERO_PAGE.load(Ordering::Relaxed), EMPTY)
        };
        let va = gdt::gdt_window(cpu) + offset;
        paging::map(va, Mfn::new(frame).to_maddr().get(), flags).then_some(())?;
    }
    let (table, _) = paging::leaf(gdt::gdt_window(cpu))?;
    TABLES[cpu.index()].store(table.get(), Ordering::Relaxed);
    Some(())
}

/// The entry that maps `va` of the CPU's window.
fn entry(cpu: CpuId, va: u64) -> Option<(TableView, usize)> {
    let table = TABLES[cpu.index()].load(Ordering::Relaxed);
    let index = (va % TABLE_SPAN) as usize / PAGE_SIZE;
    (table != 0).then(|| (direct_map::table(Mfn::new(table)), index))
}

/// The frame of a CPU's own descriptor page.
pub fn own_page(cpu: CpuId) -> Option<Mfn> {
    let va = gdt::gdt_window(cpu) + gdt::OWN_PAGE as u64 * PAGE_SIZE as u64;
    let (table, index) = entry(cpu, va)?;
    Some(MachAddr::new(table.load(index) & bits::ADDRESS).frame())
}

/// Shows `frame` as page `page` (below [`GDT_PAGES`]) of the CPU's GDT. Takes effect with the next
/// load of CR3.
pub fn set_gdt_page(cpu: CpuId, page: usize, frame: Option<Mfn>) {
    if page < GDT_PAGES {
        let va = gdt::gdt_window(cpu) + (page * PAGE_SIZE) as u64;
        set(cpu, va, frame);
    }
}

/// Shows `frame` as page `page` (below [`LDT_PAGES`]) of the CPU's LDT. Takes effect with the next
/// load of CR3 or `invlpg`.
pub fn set_ldt_page(cpu: CpuId, page: usize, frame: Option<Mfn>) {
    if page < LDT_PAGES {
        let va = gdt::gdt_window(cpu) + WINDOW_LDT + (page * PAGE_SIZE) as u64;
        set(cpu, va, frame);
    }
}

fn set(cpu: CpuId, va: u64, frame: Option<Mfn>) {
    let zero = Mfn::new(ZERO_PAGE.load(Ordering::Relaxed));
    let shown = frame.map_or(zero.to_maddr().get() | EMPTY, |mfn| {
        mfn.to_maddr().get() | SHOWN
    });
    if let Some((table, index)) = entry(cpu, va) {
        table.store(index, shown);
    }
}
