//! Finding entries by address, through the frames of the tables themselves.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::frame::{GuestVirtAddr, MachAddr, Mfn};
use guest_abi::mmu::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START, Pte};

use super::Space;
use super::entry::Level;
use crate::mm::machine::{Machine, TableEntries};

/// Where an entry lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The table.
    pub table: Mfn,
    /// Its place in the table, below 512.
    pub index: usize,
}

impl Slot {
    /// The entry at a machine address, if that is aligned as entries are.
    pub fn at(address: MachAddr) -> Option<Self> {
        address.get().is_multiple_of(8).then(|| Self {
            table: address.frame(),
            index: address.page_offset() / 8,
        })
    }
}

/// Whether an address is one that guest page tables translate.
pub const fn is_guest_address(va: GuestVirtAddr) -> bool {
    va.is_canonical() && (va.get() < HYPERVISOR_VIRT_START || va.get() >= HYPERVISOR_VIRT_END)
}

/// The slot of the L1 entry for `va` under the validated root `root`; `None` where no L1 table
/// covers it. The caller holds the lock of the tables, or runs on them.
#[inline]
pub fn find_leaf<M: Machine>(machine: &M, root: Mfn, va: GuestVirtAddr) -> Option<Slot> {
    if !is_guest_address(va) {
        return None;
    }
    let mut table = root;
    for level in [Level::L4, Level::L3, Level::L2] {
        let pte = read(machine, table, va.table_index(level.number()))?;
        if !pte.is_present() {
            return None;
        }
        table = pte.frame();
    }
    Some(Slot {
        table,
        index: va.table_index(1),
    })
}

/// The entry of a table.
pub fn read<M: Machine>(machine: &M, table: Mfn, index: usize) -> Option<Pte> {
    let slot = machine.entries(table).get(index)?;
    Some(Pte::new(slot.load(Ordering::Relaxed)))
}

/// Entries looked at together: most tables are nearly empty, and one test passes over them all.
const GROUP: usize = 8;

/// The first present entry from index `from` on.
#[inline]
pub fn next_present(entries: &TableEntries, from: usize) -> Option<(usize, Pte)> {
    let mut index = from;
    while let Some(slot) = entries.get(index) {
        if index.is_multiple_of(GROUP) && !has_present(entries.get(index..index + GROUP)) {
            index += GROUP;
            continue;
        }
        let pte = Pte::new(slot.load(Ordering::Relaxed));
        if pte.is_present() {
            return Some((index, pte));
        }
        index += 1;
    }
    None
}

/// The last present entry below index `below`.
#[inline]
pub fn last_present(entries: &TableEntries, below: usize) -> Option<(usize, Pte)> {
    let mut end = below.min(entries.len());
    while let Some(index) = end.checked_sub(1) {
        if end.is_multiple_of(GROUP) && !has_present(entries.get(end - GROUP..end)) {
            end -= GROUP;
            continue;
        }
        let pte = Pte::new(entries.get(index)?.load(Ordering::Relaxed));
        if pte.is_present() {
            return Some((index, pte));
        }
        end = index;
    }
    None
}

#[inline]
fn has_present(group: Option<&[AtomicU64]>) -> bool {
    let all = group.unwrap_or(&[]).iter();
    let any = all.fold(0, |any, slot| any | slot.load(Ordering::Relaxed));
    Pte::new(any).is_present()
}

impl<M: Machine> Space<'_, M> {
    /// The slot of the L1 entry for `va` under `root`.
    pub fn find_leaf(&self, root: Mfn, va: GuestVirtAddr) -> Option<Slot> {
        find_leaf(self.machine, root, va)
    }

    /// The entry in a slot of a table of the domain.
    pub fn read(&self, slot: Slot) -> Option<Pte> {
        read(self.machine, slot.table, slot.index)
    }
}

#[cfg(test)]
mod tests {
    use super::{AtomicU64, Ordering, TableEntries, last_present, next_present};
    use proptest::prelude::{any, proptest};

    proptest! {
        #[test]
        fn every_present_entry_is_found_in_both_directions(
            present in proptest::collection::btree_set(0usize..512, 0..40),
            garbage in any::<u64>(),
            from in 0usize..=512,
        ) {
            let entries: TableEntries = std::array::from_fn(|index| {
                let is_present = u64::from(present.contains(&index));
                AtomicU64::new(garbage & !1 | is_present)
            });
            let mut next = from;
            let up = std::iter::from_fn(|| {
                let (index, _) = next_present(&entries, next)?;
                next = index + 1;
                Some(index)
            });
            assert!(up.eq(present.range(from..).copied()));
            let mut below = from;
            let down = std::iter::from_fn(|| {
                below = last_present(&entries, below)?.0;
                Some(below)
            });
            assert!(down.eq(present.range(..from).rev().copied()));
            assert_eq!(entries[0].load(Ordering::Relaxed) & !1, garbage & !1);
        }
    }
}
