//! Changing single entries of tables in use, pinning tables, and plain writes to other pages.
//!
//! The order is always the same: take what the new entry needs, write it, give back what the old
//! one held. A refused change leaves the entry as it was.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;
use guest_abi::mmu::Pte;

use super::entry::{
    AD_BITS, Change, Level, as_stored, compare, has_allowed_bits, is_core_slot, is_writable,
};
use super::walk::Slot;
use super::{Refusal, Space, TableError};
use crate::mm::machine::Machine;
use crate::mm::page_type::PageType;

/// What to do with the accessed and dirty bits that the CPU sets meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bits {
    /// As the new entry says.
    AsGiven,
    /// Keep those that are set.
    PreserveAd,
}

impl<'a, M: Machine> Space<'a, M> {
    /// Sets an entry: checked in a table in use, a plain write anywhere else. `frames_of` owns
    /// the frame to be mapped.
    ///
    /// # Errors
    /// When the new entry will not do, or a table to be checked is too much for the budget.
    #[inline]
    pub fn update(
        &mut self,
        slot: Slot,
        new: Pte,
        frames_of: DomId,
        bits: Bits,
    ) -> Result<(), TableError> {
        let machine = self.machine;
        let page = machine
            .page(slot.table)
            .ok_or(Refusal::NoFrame(slot.table))?;
        // A table in use stays one while its domain's lock is held, so no reference is needed.
        match page.ty.load().live_table() {
            Some(level) if page.owner() == self.owner.id => {
                let entry = machine
                    .entries(slot.table)
                    .get(slot.index)
                    .ok_or(Refusal::Misaligned)?;
                if level == Level::L1 {
                    self.update_leaf(entry, new, frames_of, bits)?;
                    Ok(())
                } else {
                    self.update_upper(level, slot, entry, new, bits)
                }
            }
            _ => Ok(self.write_plain(slot, new)?),
        }
    }

    #[inline]
    fn update_leaf(
        &mut self,
        entry: &AtomicU64,
        new: Pte,
        frames_of: DomId,
        bits: Bits,
    ) -> Result<(), Refusal> {
        let old = Pte::new(entry.load(Ordering::Relaxed));
        if !new.is_present() {
            entry.store(new.get(), Ordering::Release);
            if old.is_present() {
                self.put_leaf(old);
            }
            return Ok(());
        }
        let stored = as_stored(new, Level::L1);
        if old.is_present() {
            match compare(old, stored) {
                Change::Harmless => {
                    write(entry, stored, bits);
                    return Ok(());
                }
                Change::Access if self.is_frame_of(old.frame(), frames_of) => {
                    return self.change_access(entry, stored, bits);
                }
                Change::Access | Change::Other => {}
            }
        }
        self.get_leaf(new, frames_of)?;
        write(entry, stored, bits);
        if old.is_present() {
            self.put_leaf(old);
        }
        Ok(())
    }

    fn is_frame_of(&self, mfn: Mfn, frames_of: DomId) -> bool {
        self.counted(mfn)
            .is_some_and(|page| page.owner() == frames_of)
    }

    /// The same frame, with or without the right to write it: only the type changes hands.
    fn change_access(&mut self, entry: &AtomicU64, new: Pte, bits: Bits) -> Result<(), Refusal> {
        let mfn = new.frame();
        let machine = self.machine;
        let page = machine.page(mfn).ok_or(Refusal::NoFrame(mfn))?;
        if is_writable(new) {
            self.get_type_writable(mfn, page)?;
            write(entry, new, bits);
        } else {
            write(entry, new, bits);
            self.put_type(mfn, page);
        }
        Ok(())
    }

    fn update_upper(
        &mut self,
        level: Level,
        slot: Slot,
        entry: &AtomicU64,
        new: Pte,
        bits: Bits,
    ) -> Result<(), TableError> {
        if level == Level::L4 && is_core_slot(slot.index) {
            return Err(Refusal::CoreSlot.into());
        }
        let old = Pte::new(entry.load(Ordering::Relaxed));
        if new.is_present() {
            self.get_child(level, slot.table, new)?;
            write(entry, as_stored(new, level), bits);
        } else {
            entry.store(new.get(), Ordering::Release);
        }
        if old.is_present() {
            self.put_table(old.frame());
        }
        Ok(())
    }

    /// Takes the references of a new entry of the table `table` of `level`.
    fn get_child(&mut self, level: Level, table: Mfn, new: Pte) -> Result<(), TableError> {
        if !has_allowed_bits(new, level, false) {
            return Err(Refusal::Bits(level, new).into());
        }
        let Some(below) = level.below() else {
            return Ok(());
        };
        // Checking what is below may take partial tables apart, the last users of this one
        // among them: it must stay what it is until the entry is written.
        self.hold_table(table, level)?;
        let outcome = self.get_table(new.frame(), below);
        self.put_table(table);
        outcome
    }

    /// Takes one more use of a table in use.
    fn hold_table(&self, table: Mfn, level: Level) -> Result<(), Refusal> {
        let page = self.machine.page(table).ok_or(Refusal::NoFrame(table))?;
        if !page.ty.get_shared(PageType::table(level)) {
            return Err(Refusal::TooMany(table));
        }
        page.get_again();
        Ok(())
    }

    /// Eight bytes into a page that serves as no table.
    fn write_plain(&mut self, slot: Slot, value: Pte) -> Result<(), Refusal> {
        let page = self.get_writable(slot.table, self.owner.id)?;
        let machine = self.machine;
        let written = machine.entries(slot.table).get(slot.index);
        if let Some(entry) = written {
            entry.store(value.get(), Ordering::Release);
        }
        self.put_writable(slot.table, page);
        written.map(drop).ok_or(Refusal::Misaligned)
    }

    /// Writes a descriptor, already checked, into a descriptor page in use; a plain write to any
    /// other page that is not a table.
    ///
    /// # Errors
    /// When the page is not the domain's, or a page table.
    pub fn write_descriptor(&mut self, slot: Slot, descriptor: u64) -> Result<(), Refusal> {
        let machine = self.machine;
        let page = machine
            .page(slot.table)
            .ok_or(Refusal::NoFrame(slot.table))?;
        let state = page.ty.load();
        let is_in_use = state.ty() == PageType::Descriptors && state.count() > 0;
        if !is_in_use || page.owner() != self.owner.id {
            return self.write_plain(slot, Pte::new(descriptor));
        }
        let entry = machine
            .entries(slot.table)
            .get(slot.index)
            .ok_or(Refusal::Misaligned)?;
        entry.store(descriptor, Ordering::Release);
        Ok(())
    }

    /// Replaces an L1 entry if it is still `old`, as an emulated read-modify-write instruction
    /// must. Answers with the entry found: `old` when the exchange took place.
    ///
    /// # Errors
    /// When the slot is not in an L1 table in use, or the new entry will not do.
    pub fn compare_exchange(&mut self, slot: Slot, old: Pte, new: Pte) -> Result<Pte, Refusal> {
        let entry = self.leaf_entry(slot)?;
        let found = Pte::new(entry.load(Ordering::Acquire));
        if found != old {
            return Ok(found);
        }
        let stored = if new.is_present() {
            self.get_leaf(new, self.owner.id)?;
            as_stored(new, Level::L1)
        } else {
            new
        };
        // Only the CPU's accessed and dirty bits can interfere: the lock keeps all others out.
        let exchanged =
            entry.compare_exchange(old.get(), stored.get(), Ordering::AcqRel, Ordering::Acquire);
        let (found, dropped) = match exchanged {
            Ok(_) => (old, old),
            Err(now) => (Pte::new(now), new),
        };
        if dropped.is_present() {
            self.put_leaf(dropped);
        }
        Ok(found)
    }

    /// Whether the slot lies in an L1 table of the domain that is in use.
    pub fn is_leaf(&self, slot: Slot) -> bool {
        self.leaf_entry(slot).is_ok()
    }

    /// The entry in a slot of an L1 table in use.
    pub(super) fn leaf_entry(&self, slot: Slot) -> Result<&'a AtomicU64, Refusal> {
        let page = self
            .machine
            .page(slot.table)
            .ok_or(Refusal::NoFrame(slot.table))?;
        let is_l1 = page.ty.load().live_table() == Some(Level::L1);
        if !is_l1 || page.owner() != self.owner.id {
            return Err(Refusal::NoTable);
        }
        self.machine
            .entries(slot.table)
            .get(slot.index)
            .ok_or(Refusal::Misaligned)
    }

    /// Pins a frame as a table of `level`.
    ///
    /// # Errors
    /// When it will not do as one, is pinned already, or the budget is spent.
    pub fn pin(&mut self, mfn: Mfn, level: Level) -> Result<(), TableError> {
        self.get_table(mfn, level)?;
        let Some(page) = self.machine.page(mfn) else {
            return Err(Refusal::NoFrame(mfn).into());
        };
        let pinned = page.ty.change(|state| Ok((Some(state.pin()?), ())));
        pinned.map_err(|error| {
            self.put_table(mfn);
            Refusal::Type(mfn, error).into()
        })
    }

    /// Takes the pin off a table.
    ///
    /// # Errors
    /// When it is none of the domain's, or not pinned.
    pub fn unpin(&mut self, mfn: Mfn) -> Result<(), Refusal> {
        let page = self.machine.page(mfn).ok_or(Refusal::NoFrame(mfn))?;
        let refs = page.refs();
        if refs.owner != self.owner.id {
            return Err(Refusal::NotOwned(mfn, self.owner.id, refs));
        }
        // The pin itself holds the frame.
        page.ty
            .change(|state| Ok((Some(state.unpin()?), ())))
            .map_err(|error| Refusal::Type(mfn, error))?;
        self.put_table(mfn);
        Ok(())
    }

    /// What a frame is used as now.
    pub fn type_of(&self, mfn: Mfn) -> Option<PageType> {
        self.machine.page(mfn).map(|page| page.ty.load().ty())
    }
}

#[inline]
fn write(entry: &AtomicU64, new: Pte, bits: Bits) {
    if bits == Bits::AsGiven {
        entry.store(new.get(), Ordering::Release);
        return;
    }
    let mut now = entry.load(Ordering::Relaxed);
    while let Err(changed) = entry.compare_exchange_weak(
        now,
        new.get() | now & AD_BITS,
        Ordering::AcqRel,
        Ordering::Relaxed,
    ) {
        now = changed;
    }
}
