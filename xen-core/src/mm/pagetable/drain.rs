//! Taking tables apart: the entries of partial pages give their references back.

use guest_abi::frame::Mfn;
use guest_abi::mmu::Pte;

use super::entry::{Level, is_core_slot};
use super::walk::last_present;
use super::{Budget, Space};
use crate::mm::frame_table::{Links, PageInfo};
use crate::mm::machine::Machine;
use crate::mm::page_type::{ENTRIES, Phase, TypeState};

impl<M: Machine> Space<'_, M> {
    /// Gives one use of a table of the domain back.
    pub fn put_table(&mut self, mfn: Mfn) {
        if let Some(page) = self.machine.page(mfn) {
            self.put_type(mfn, page);
            self.put_page(mfn, page);
        }
    }

    /// Drains the work list as far as the budget goes; says whether it is empty.
    pub fn drain(&mut self) -> bool {
        while self.tables.work != Links::NONE {
            let mfn = Mfn::new(u64::from(self.tables.work));
            if !self.drain_page(mfn, true) {
                return false;
            }
        }
        true
    }

    /// Drains one page of the work list to its end: at most 512 entries, because children that
    /// lose their last user are only put on the list.
    pub(super) fn drain_whole(&mut self, mfn: Mfn) {
        self.drain_page(mfn, false);
    }

    fn drain_page(&mut self, mfn: Mfn, bounded: bool) -> bool {
        let Some(page) = self.machine.page(mfn) else {
            return true;
        };
        let state = page.ty.load();
        let (Phase::Partial(done), Some(level)) = (state.phase(), state.ty().level()) else {
            log::error!("frame {mfn} is on a work list but not partial");
            self.unlink_work(mfn);
            return true;
        };
        if bounded && !self.budget.spend(Budget::SCAN) {
            return false;
        }
        let machine = self.machine;
        let entries = machine.entries(mfn);
        let mut below = usize::from(done);
        while let Some((index, pte)) = last_present(entries, below) {
            if level == Level::L4 && is_core_slot(index) {
                below = index;
                continue;
            }
            if bounded && !self.budget.spend(1) {
                page.ty.store(state.suspend(entry_count(index + 1)));
                return false;
            }
            self.drop_entry(level, pte);
            below = index;
        }
        self.finish_drain(mfn, page, state);
        true
    }

    fn finish_drain(&mut self, mfn: Mfn, page: &PageInfo, state: TypeState) {
        self.unlink_work(mfn);
        // CPUs may still have it in their paging-structure caches.
        page.set_stamp(self.machine.clock());
        page.ty.store(state.drained());
        self.put_page(mfn, page);
    }

    /// Gives back what a present entry of a table of `level` held.
    pub(super) fn drop_entry(&mut self, level: Level, pte: Pte) {
        if level == Level::L1 {
            self.put_leaf(pte);
        } else {
            self.put_table(pte.frame());
        }
    }
}

fn entry_count(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(ENTRIES)
}
