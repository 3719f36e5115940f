//! The core's own page tables.
//!
//! Built once at start-up, from memory below 4 GiB (what the loader's tables reach); afterwards
//! only device registers are added. [`core_slots`] are the entries that every guest's root carries;
//! [`core_root`] is a root with nothing else, for CPUs without a guest.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::frame::{MachAddr, Mfn, PAGE_SIZE};

use super::{direct_map, frames};
use crate::arch::layout::{FIRST_SLOT, SLOTS};
use crate::sync::SpinLock;

/// Bits of a page-table entry, as the core uses them.
pub mod bits {
    /// The entry means something.
    pub const PRESENT: u64 = 1 << 0;
    /// Writes are allowed.
    pub const WRITABLE: u64 = 1 << 1;
    /// Ring 3 may use it.
    pub const USER: u64 = 1 << 2;
    /// Not cached.
    pub const UNCACHED: u64 = 1 << 3 | 1 << 4;
    /// Accessed and dirty, set beforehand so that the CPU need not.
    pub const USED: u64 = 1 << 5 | 1 << 6;
    /// A 2 MiB page.
    pub const LARGE: u64 = 1 << 7;
    /// Stays over a change of root.
    pub const GLOBAL: u64 = 1 << 8;
    /// No instructions are fetched from it.
    pub const NO_EXECUTE: u64 = 1 << 63;
    /// Read-only data of the core.
    pub const RODATA: u64 = PRESENT | USED | GLOBAL | NO_EXECUTE;
    /// Data of the core.
    pub const DATA: u64 = RODATA | WRITABLE;
    /// Code of the core.
    pub const CODE: u64 = PRESENT | USED | GLOBAL;
    /// The address in an entry.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// Bytes of a 2 MiB page.
pub const LARGE_PAGE: u64 = LARGE_STEP as u64;
/// The same, to step by.
pub(super) const LARGE_STEP: usize = 2 << 20;

static ROOT: AtomicU64 = AtomicU64::new(0);
/// Held while tables are added to.
static CHANGE: SpinLock<()> = SpinLock::new(());

/// The root that maps the core and nothing else.
pub fn core_root() -> Mfn {
    Mfn::new(ROOT.load(Ordering::Relaxed))
}

/// The entries that stand in slots 256 to 271 of every root.
pub fn core_slots() -> [u64; SLOTS] {
    let root = direct_map::table(core_root());
    core::array::from_fn(|slot| root.load(FIRST_SLOT + slot))
}

/// Makes an empty root; false if there is no memory.
pub(super) fn create_root() -> bool {
    match frames::alloc_zeroed() {
        Some(root) => ROOT.store(root.get(), Ordering::Relaxed),
        None => return false,
    }
    true
}

/// Maps one page at `va`; false if there is no memory for the tables.
pub(super) fn map(va: u64, address: u64, flags: u64) -> bool {
    map_at(va, 1, address | flags)
}

/// Maps a 2 MiB page at `va`; false if there is no memory for the tables.
pub(super) fn map_large(va: u64, address: u64, flags: u64) -> bool {
    map_at(va, 2, address | flags | bits::LARGE)
}

/// Maps `bytes` page by page; false if there is no memory for the tables.
pub(super) fn map_range(va: u64, address: u64, bytes: u64, flags: u64) -> bool {
    (0..bytes)
        .step_by(PAGE_SIZE)
        .all(|offset| map(va + offset, address + offset, flags))
}

fn map_at(va: u64, level: u32, entry: u64) -> bool {
    let _change = CHANGE.lock();
    let mut table = core_root();
    for above in (level + 1..=4).rev() {
        let Some(next) = descend(table, index(va, above), entry & bits::USER) else {
            return false;
        };
        table = next;
    }
    direct_map::table(table).store(index(va, level), entry);
    true
}

/// The table below an entry, made if missing.
fn descend(table: Mfn, index: usize, user: u64) -> Option<Mfn> {
    let table = direct_map::table(table);
    let entry = table.load(index);
    if entry & bits::PRESENT != 0 {
        return Some(MachAddr::new(entry & bits::ADDRESS).frame());
    }
    let next = frames::alloc_zeroed()?;
    let flags = bits::PRESENT | bits::WRITABLE | bits::USED | user;
    table.store(index, next.to_maddr().get() | flags);
    Some(next)
}

/// The level-1 table and index that map `va`, which is mapped by small pages.
pub(super) fn leaf(va: u64) -> Option<(Mfn, usize)> {
    let table = (2..=4).rev().try_fold(core_root(), |table, level| {
        let entry = direct_map::table(table).load(index(va, level));
        (entry & bits::PRESENT != 0).then(|| MachAddr::new(entry & bits::ADDRESS).frame())
    })?;
    Some((table, index(va, 1)))
}

/// The index of `va` in a table of `level`.
const fn index(va: u64, level: u32) -> usize {
    (va >> (12 + 9 * (level - 1)) & 0x1ff) as usize
}
