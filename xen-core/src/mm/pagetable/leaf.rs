//! What an L1 entry may map, and the references it holds.
//!
//! A frame of RAM must belong to the domain that the caller names; a writable entry also takes
//! the type *writable*. Device memory carries no counts and needs the right to devices.

use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;
use guest_abi::mmu::Pte;

use super::entry::{Level, changes_caching, has_allowed_bits, is_writable};
use super::{Refusal, Space};
use crate::mm::frame_table::{PageInfo, RefError, Status};
use crate::mm::machine::Machine;

impl<'a, M: Machine> Space<'a, M> {
    /// Takes the references that the present L1 entry `pte` needs, on a frame of `frames_of`.
    #[inline]
    pub(super) fn get_leaf(&mut self, pte: Pte, frames_of: DomId) -> Result<(), Refusal> {
        if !has_allowed_bits(pte, Level::L1, self.owner.devices) {
            return Err(Refusal::Bits(Level::L1, pte));
        }
        let mfn = pte.frame();
        let machine = self.machine;
        let Some(page) = machine.page(mfn) else {
            return self.check_device(mfn);
        };
        match page.get(frames_of) {
            Ok(()) => {}
            Err(RefError::NotOwned(state)) if state.status == Status::Void => {
                return self.check_device(mfn);
            }
            Err(RefError::NotOwned(state)) => {
                return Err(Refusal::NotOwned(mfn, frames_of, state));
            }
            Err(RefError::TooMany) => return Err(Refusal::TooMany(mfn)),
        }
        let verdict = self.get_access(pte, mfn, page);
        if verdict.is_err() {
            self.put_page(mfn, page);
        }
        verdict
    }

    fn get_access(&mut self, pte: Pte, mfn: Mfn, page: &PageInfo) -> Result<(), Refusal> {
        // RAM is write-back for everyone: an uncached alias could go stale unnoticed.
        if changes_caching(pte) {
            return Err(Refusal::Bits(Level::L1, pte));
        }
        if is_writable(pte) {
            self.get_type_writable(mfn, page)?;
        }
        Ok(())
    }

    fn check_device(&self, mfn: Mfn) -> Result<(), Refusal> {
        if self.owner.devices && self.machine.is_device(mfn) {
            Ok(())
        } else {
            Err(Refusal::Device(mfn))
        }
    }

    /// Gives back what a present L1 entry held.
    #[inline]
    pub(super) fn put_leaf(&mut self, pte: Pte) {
        let mfn = pte.frame();
        let Some(page) = self.counted(mfn) else {
            return;
        };
        if is_writable(pte) {
            self.put_type(mfn, page);
        }
        self.put_page(mfn, page);
    }

    /// The frame behind a present L1 entry, if it is one that counts: not device memory.
    #[inline]
    pub(super) fn counted(&self, mfn: Mfn) -> Option<&'a PageInfo> {
        self.machine.page(mfn).filter(|page| page.is_counted())
    }
}
