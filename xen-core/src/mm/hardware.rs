//! The real machine, as the page-table code sees it.

use core::sync::atomic::Ordering;

use guest_abi::frame::Mfn;
use guest_abi::mmu::FIRST_HYPERVISOR_L4_SLOT;

use super::frame_table::PageInfo;
use super::machine::{Machine, Owner, TableEntries};
use super::page_type::Scope;
use super::{device_memory, heap};
use crate::arch::{direct_map, paging, tlb};
use crate::cpu::CpuMask;
use crate::domain;

/// The machine that the core runs on.
#[derive(Clone, Copy, Debug)]
pub struct Hardware;

impl Machine for Hardware {
    #[inline]
    fn page(&self, mfn: Mfn) -> Option<&PageInfo> {
        heap::page(mfn)
    }

    #[inline]
    fn entries(&self, mfn: Mfn) -> &TableEntries {
        direct_map::entries(mfn)
    }

    #[inline]
    fn clock(&self) -> u64 {
        tlb::now()
    }

    fn flush(&self, owner: &Owner<'_>, scope: Scope, since: u64) {
        let cpus = match scope {
            Scope::Owner => owner.cpus.load(),
            Scope::Everyone => CpuMask::ALL,
        };
        let stale = tlb::need_flush(cpus, since);
        if !stale.is_empty() {
            tlb::flush_mask(stale);
        }
    }

    fn release(&self, mfn: Mfn, page: &PageInfo) {
        let refs = page.refs();
        page.reclaim();
        heap::give(mfn, 0);
        if refs.lent {
            return;
        }
        // A domain stays in the table until its last frame is gone.
        if let Some(owner) = domain::table::get(refs.owner)
            && owner.memory.forget_page() == 0
        {
            domain::destroy::last_frame_gone(owner.id);
        }
    }

    fn fill_core_slots(&self, root: &TableEntries) {
        let slots = root.iter().skip(FIRST_HYPERVISOR_L4_SLOT);
        for (slot, entry) in slots.zip(paging::core_slots()) {
            slot.store(entry, Ordering::Release);
        }
    }

    fn is_device(&self, mfn: Mfn) -> bool {
        device_memory::may_be_mapped(mfn)
    }
}
