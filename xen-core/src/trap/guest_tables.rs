//! The running vCPU's page tables, as emulated writes see them.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::mmu::Pte;

use super::writable_table::Tables;
use crate::domain::VcpuRef;
use crate::mm::access::{self, CALL_BUDGET};
use crate::mm::pagetable::Budget;
use crate::mm::pagetable::entry::is_writable;
use crate::mm::pagetable::walk::Slot;

/// The tables of the domain of a vCPU that is in guest kernel mode.
#[derive(Debug)]
pub struct GuestTables<'a> {
    vcpu: &'a VcpuRef,
}

impl<'a> GuestTables<'a> {
    /// Those of `vcpu`.
    pub const fn new(vcpu: &'a VcpuRef) -> Self {
        Self { vcpu }
    }
}

impl Tables for GuestTables<'_> {
    type Slot = Slot;

    fn entry_at(&mut self, address: GuestVirtAddr) -> Option<Slot> {
        let root = self.vcpu.entry.kernel_root().frame();
        let mut budget = Budget::new(CALL_BUDGET);
        access::with_space(self.vcpu.domain(), &mut budget, |space| {
            let mapping = space.find_leaf(root, address)?;
            let pte = space.read(mapping)?;
            if !pte.is_present() || is_writable(pte) {
                return None;
            }
            let slot = Slot {
                table: pte.frame(),
                index: address.page_offset() / 8,
            };
            space.is_leaf(slot).then_some(slot)
        })
    }

    fn load(&mut self, slot: Slot) -> Option<u64> {
        let mut budget = Budget::new(CALL_BUDGET);
        access::with_space(self.vcpu.domain(), &mut budget, |space| {
            space.read(slot).map(Pte::get)
        })
    }

    fn compare_exchange(&mut self, slot: Slot, old: u64, new: u64) -> Option<u64> {
        let domain = self.vcpu.domain();
        let mut budget = Budget::new(CALL_BUDGET);
        let result = access::with_space(domain, &mut budget, |space| {
            let result = space.compare_exchange(slot, Pte::new(old), Pte::new(new));
            // A table that lost its last user is taken apart by the next operations, too.
            space.drain();
            result
        });
        match result {
            Ok(found) => Some(found.get()),
            Err(refusal) => {
                let table = slot.table;
                access::note_refusal(domain, format_args!("write to table {table}"), refusal);
                None
            }
        }
    }
}
