//! Finding entries by address, through the frames of the tables themselves.

use core::sync::atomic::Ordering;

use guest_abi::frame::{GuestVirtAddr, MachAddr, Mfn};
use guest_abi::mmu::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START, Pte};

use super::Space;
use super::entry::Level;
use crate::mm::machine::Machine;

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
