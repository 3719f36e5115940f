//! Turning pages into tables: the checked walk over their entries, four levels deep at most.

use core::sync::atomic::Ordering;

use guest_abi::frame::Mfn;
use guest_abi::mmu::Pte;
use heapless::Vec;

use super::entry::{Level, as_stored, has_allowed_bits, is_core_slot};
use super::refs::Taken;
use super::walk::next_present;
use super::{Budget, Refusal, Space, TableError};
use crate::mm::machine::Machine;
use crate::mm::page_type::{PageType, TypeState};

/// A table on the way down, checked up to `next`.
#[derive(Debug)]
struct Step {
    mfn: Mfn,
    level: Level,
    state: TypeState,
    next: usize,
}

/// A root, and at most one table of each level below it.
type Walk = Vec<Step, 4>;

/// How far one table got.
enum Progress {
    /// To its end.
    Done,
    /// To an entry whose table must be checked first.
    Into(Step),
}

impl<M: Machine> Space<'_, M> {
    /// Takes a general reference on a frame of the domain, and a use of it as a table of `level`;
    /// checks the table, and all below it that nobody uses yet, if it is not one so far.
    ///
    /// # Errors
    /// When the frame or anything below it will not do, or the budget is spent: then the pages
    /// on the way rest partially checked, and the same call resumes.
    pub fn get_table(&mut self, mfn: Mfn, level: Level) -> Result<(), TableError> {
        let Some(root) = self.enter(mfn, level)? else {
            return Ok(());
        };
        let mut walk = Walk::new();
        // Four levels fit: an entry of an L1 enters nothing.
        let _ = walk.push(root);
        while let Some(step) = walk.last_mut() {
            match self.advance(step) {
                Ok(Progress::Done) => self.leave(&mut walk),
                Ok(Progress::Into(child)) => drop(walk.push(child)),
                Err(error) => {
                    self.abandon(walk);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes the references on a table; says where to go on if it must be checked.
    fn enter(&mut self, mfn: Mfn, level: Level) -> Result<Option<Step>, Refusal> {
        let page = self.get_page(mfn, self.owner.id)?;
        match self.take_type(mfn, page, PageType::table(level)) {
            Ok(Taken::Done) => Ok(None),
            Ok(Taken::Validate(state, from)) => {
                // The scan itself is paid for, but never refused: each call gets on.
                self.budget.spend(Budget::SCAN);
                Ok(Some(Step {
                    mfn,
                    level,
                    state,
                    next: usize::from(from),
                }))
            }
            Err(refusal) => {
                self.put_page(mfn, page);
                Err(refusal)
            }
        }
    }

    fn advance(&mut self, step: &mut Step) -> Result<Progress, TableError> {
        let machine = self.machine;
        let entries = machine.entries(step.mfn);
        while let Some((index, pte)) = next_present(entries, step.next) {
            step.next = index;
            if !(step.level == Level::L4 && is_core_slot(index)) {
                let child = self.check(step.level, pte)?;
                let stored = as_stored(pte, step.level);
                if stored != pte
                    && let Some(slot) = entries.get(index)
                {
                    slot.store(stored.get(), Ordering::Relaxed);
                }
                if let Some(child) = child {
                    return Ok(Progress::Into(child));
                }
            }
            step.next = index + 1;
        }
        step.next = entries.len();
        Ok(Progress::Done)
    }

    /// Takes the references of one present entry; answers with the table that must be checked
    /// before they count.
    fn check(&mut self, level: Level, pte: Pte) -> Result<Option<Step>, TableError> {
        if !self.budget.spend(1) {
            return Err(TableError::Again);
        }
        let Some(below) = level.below() else {
            self.get_leaf(pte, self.owner.id)?;
            return Ok(None);
        };
        if !has_allowed_bits(pte, level, false) {
            return Err(Refusal::Bits(level, pte).into());
        }
        Ok(self.enter(pte.frame(), below)?)
    }

    /// The last table of the walk is complete: the entry above it counts.
    fn leave(&mut self, walk: &mut Walk) {
        let Some(step) = walk.pop() else {
            return;
        };
        if step.level == Level::L4 {
            self.machine.fill_core_slots(self.machine.entries(step.mfn));
        }
        if let Some(page) = self.machine.page(step.mfn) {
            page.ty.store(step.state.finish());
            // Its users hold it from here on, not it itself.
            self.put_page(step.mfn, page);
        }
        if let Some(parent) = walk.last_mut() {
            parent.next += 1;
        }
    }

    /// Lays all tables of the walk aside, each holding what it has taken so far and itself.
    fn abandon(&mut self, walk: Walk) {
        for step in walk {
            let Some(page) = self.machine.page(step.mfn) else {
                continue;
            };
            let done = u16::try_from(step.next).unwrap_or(0);
            page.ty.store(step.state.suspend(done));
            self.link_work(step.mfn);
            self.put_page(step.mfn, page);
        }
    }
}
