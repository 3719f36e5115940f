//! References on frames, and uses of their types: taken and given back.

use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;
use guest_abi::mmu::Pte;

use super::entry::Level;
use super::{Refusal, Space};
use crate::mm::frame_table::{PageInfo, RefError};
use crate::mm::machine::{Machine, TableEntries};
use crate::mm::page_type::{Flushed, Get, PageType, Phase, Put, Scope, TypeError, TypeState};

/// What a taken type still needs.
pub(super) enum Taken {
    /// Nothing.
    Done,
    /// The entries from this one on must be checked.
    Validate(TypeState, u16),
}

impl<'a, M: Machine> Space<'a, M> {
    /// Takes a general reference on a frame of `owner`.
    ///
    /// # Errors
    /// When there is no such frame, or it is not the owner's.
    pub fn get_page(&self, mfn: Mfn, owner: DomId) -> Result<&'a PageInfo, Refusal> {
        let page = self.machine.page(mfn).ok_or(Refusal::NoFrame(mfn))?;
        page.get(owner).map_err(|error| match error {
            RefError::NotOwned(state) => Refusal::NotOwned(mfn, owner, state),
            RefError::TooMany => Refusal::TooMany(mfn),
        })?;
        Ok(page)
    }

    /// Gives a general reference back.
    #[inline]
    pub fn put_page(&self, mfn: Mfn, page: &PageInfo) {
        if page.put() {
            self.machine.release(mfn, page);
        }
    }

    /// Takes a reference on a frame of `owner` that lets the core or a guest write to it.
    ///
    /// # Errors
    /// When it is not the owner's, or serves as something that must not be written.
    pub fn get_writable(&mut self, mfn: Mfn, owner: DomId) -> Result<&'a PageInfo, Refusal> {
        let page = self.get_page(mfn, owner)?;
        if let Err(refusal) = self.get_type_writable(mfn, page) {
            self.put_page(mfn, page);
            return Err(refusal);
        }
        Ok(page)
    }

    /// Gives back what [`get_writable`](Self::get_writable) took.
    pub fn put_writable(&mut self, mfn: Mfn, page: &PageInfo) {
        self.put_type(mfn, page);
        self.put_page(mfn, page);
    }

    /// Makes a frame of the domain a descriptor page, checked by `check` if it was not one yet.
    ///
    /// # Errors
    /// When it is not the domain's, serves as something else, or `check` says no.
    pub fn get_descriptors(
        &mut self,
        mfn: Mfn,
        check: impl FnOnce(&TableEntries) -> Result<(), Pte>,
    ) -> Result<(), Refusal> {
        let page = self.get_page(mfn, self.owner.id)?;
        let taken = self.take_type(mfn, page, PageType::Descriptors);
        let outcome = match taken {
            Ok(Taken::Done) => Ok(()),
            Ok(Taken::Validate(state, _)) => self.check_descriptors(mfn, page, state, check),
            Err(refusal) => Err(refusal),
        };
        if outcome.is_err() {
            self.put_page(mfn, page);
        }
        outcome
    }

    fn check_descriptors(
        &self,
        mfn: Mfn,
        page: &PageInfo,
        state: TypeState,
        check: impl FnOnce(&TableEntries) -> Result<(), Pte>,
    ) -> Result<(), Refusal> {
        let verdict = check(self.machine.entries(mfn));
        if verdict.is_ok() {
            page.ty.store(state.finish());
        } else {
            page.set_stamp(self.machine.clock());
            page.ty.store(state.drained());
        }
        // `take_type` left a reference of the page on itself for the length of the check.
        self.put_page(mfn, page);
        verdict.map_err(|pte| Refusal::Bits(Level::L1, pte))
    }

    /// Gives back what [`get_descriptors`](Self::get_descriptors) took.
    pub fn put_descriptors(&mut self, mfn: Mfn) {
        if let Some(page) = self.machine.page(mfn) {
            self.put_writable(mfn, page);
        }
    }

    #[inline]
    pub(super) fn get_type_writable(&mut self, mfn: Mfn, page: &PageInfo) -> Result<(), Refusal> {
        if page.ty.get_shared(PageType::Writable) {
            return Ok(());
        }
        self.take_new_type(mfn, page, PageType::Writable).map(drop)
    }

    /// Takes the type `want` on a frame on which the caller holds a general reference.
    #[inline]
    pub(super) fn take_type(
        &mut self,
        mfn: Mfn,
        page: &PageInfo,
        want: PageType,
    ) -> Result<Taken, Refusal> {
        if page.ty.get_shared(want) {
            return Ok(Taken::Done);
        }
        self.take_new_type(mfn, page, want)
    }

    pub(super) fn take_new_type(
        &mut self,
        mfn: Mfn,
        page: &PageInfo,
        want: PageType,
    ) -> Result<Taken, Refusal> {
        let mut proof = None;
        loop {
            let (before, get) = page
                .ty
                .change(|state| {
                    let get = state.get(want, proof)?;
                    let next = match get {
                        Get::Counted(next) | Get::Validate { state: next, .. } => Some(next),
                        Get::Flush(_) | Get::Drain => None,
                    };
                    Ok((next, (state, get)))
                })
                .map_err(|error| Refusal::Type(mfn, error))?;
            match get {
                Get::Counted(_) => return Ok(Taken::Done),
                Get::Flush(scope) => {
                    self.flush(page, scope);
                    proof = Some(Flushed::after(before));
                }
                Get::Validate { state, from, flush } => {
                    self.begin(mfn, page, before, flush);
                    return Ok(Taken::Validate(state, from));
                }
                Get::Drain if page.owner() == self.owner.id => self.drain_whole(mfn),
                // Another domain's tables are not ours to take apart.
                Get::Drain => return Err(Refusal::Type(mfn, TypeError::Busy)),
            }
        }
    }

    /// A page enters validation: it leaves the work list, or takes hold of itself.
    fn begin(&mut self, mfn: Mfn, page: &PageInfo, before: TypeState, flush: Option<Scope>) {
        if let Some(scope) = flush {
            self.flush(page, scope);
        }
        match before.phase() {
            Phase::Partial(_) => self.unlink_work(mfn),
            Phase::Settled | Phase::Validating => page.get_again(),
        }
    }

    fn flush(&self, page: &PageInfo, scope: Scope) {
        let scope = if page.owner() == self.owner.id {
            scope
        } else {
            Scope::Everyone
        };
        self.machine.flush(&self.owner, scope, page.stamp());
    }

    /// Gives one use of a frame's type back; a table without users joins the work list.
    #[inline]
    pub(super) fn put_type(&mut self, mfn: Mfn, page: &PageInfo) {
        let foreign = page.owner() != self.owner.id;
        if foreign || !page.ty.put_shared() {
            self.put_last_type(mfn, page, foreign);
        }
    }

    fn put_last_type(&mut self, mfn: Mfn, page: &PageInfo, foreign: bool) {
        let put = page.ty.change(|state| {
            let put = state.put(foreign)?;
            // Before the state says idle, so that whoever sees that sees this. The users of other
            // domains note their end, too, under no lock of ours: one may come and go right here
            // and leave the state as it was, but not the stamp.
            if foreign || matches!(put, Put::Idle(_)) {
                page.raise_stamp(self.machine.clock());
            }
            let (Put::Counted(next) | Put::Idle(next) | Put::Drain(next)) = put;
            Ok((Some(next), put))
        });
        match put {
            Ok(Put::Drain(_)) => {
                page.get_again();
                self.link_work(mfn);
            }
            Ok(_) => {}
            Err(error) => {
                let error: TypeError = error;
                log::error!("type count of frame {mfn} is out of step: it {error}");
            }
        }
    }
}
