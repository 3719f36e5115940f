//! Guest page tables: what they may contain, and who relies on what.
//!
//! The rule: a page is never writable by a guest while it serves as a page table, and every
//! present entry of a validated table holds one reference on what it points at, a typed one
//! unless it is a read-only L1 entry. [`Space`] is one domain's tables, with its lock held;
//! [`validate`] turns pages into tables, [`drain`] turns them back, [`update`] changes entries,
//! [`leaf`] knows what an L1 entry may map, [`walk`] finds entries by address.
//!
//! There is no recursion and no unbounded work: validation walks with a stack four deep and a
//! [`Budget`]; what it cannot finish rests as a partial page in the domain's work list. A table
//! whose last user leaves goes there, too, and its children follow one at a time.

pub mod drain;
pub mod entry;
pub mod leaf;
pub mod update;
pub mod validate;
pub mod walk;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
pub(in crate::mm) mod test_machine;

use core::fmt;

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;
use guest_abi::mmu::Pte;

use super::frame_table::{Links, PageInfo, RefError, RefState, Status};
use super::machine::{Machine, Owner};
use super::page_type::{Flushed, Get, PageType, Phase, Put, Scope, TypeError, TypeState};
use entry::Level;

/// A domain's page tables: what remains to be drained. The lock around it serialises all changes
/// to the domain's tables.
#[derive(Debug)]
pub struct Tables {
    /// The first page of the work list; the list runs through the frame table.
    work: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}

impl Tables {
    /// Nothing to be drained.
    pub const fn new() -> Self {
        Self { work: Links::NONE }
    }

    /// Whether partial pages wait to be drained.
    pub const fn has_work(&self) -> bool {
        self.work != Links::NONE
    }
}

/// How much more a call may do before it pauses. About one unit per reference taken or dropped.
#[derive(Clone, Copy, Debug)]
pub struct Budget(u32);

impl Budget {
    /// What looking through a whole table for present entries costs.
    const SCAN: u32 = 32;

    /// Room for this much.
    pub const fn new(units: u32) -> Self {
        Self(units)
    }

    /// Takes `units`, or what is left; says whether there was any. So whoever starts with a
    /// budget gets at least one step further.
    pub const fn spend(&mut self, units: u32) -> bool {
        let had = self.0 > 0;
        self.0 = self.0.saturating_sub(units);
        had
    }

    /// Whether nothing is left.
    pub const fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

/// Why the core would not do what a guest asked of its tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The entry has bits that no guest may set.
    Bits(Level, Pte),
    /// The slot of an L4 belongs to the core.
    CoreSlot,
    /// No such frame.
    NoFrame(Mfn),
    /// The frame belongs to somebody else.
    NotOwned(Mfn, DomId, RefState),
    /// Too many references.
    TooMany(Mfn),
    /// The frame's type is in the way.
    Type(Mfn, TypeError),
    /// Device memory, or the core's.
    Device(Mfn),
    /// The address of an entry that is none.
    Misaligned,
    /// The entry is not what the caller took it for.
    Changed,
    /// No L1 table covers the address.
    NoTable,
}

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Bits(..)
            | Refusal::CoreSlot
            | Refusal::NoFrame(_)
            | Refusal::Misaligned
            | Refusal::Changed
            | Refusal::NoTable
            | Refusal::Type(_, TypeError::AlreadyPinned | TypeError::NotPinned) => Self::EINVAL,
            Refusal::NotOwned(..) | Refusal::TooMany(_) | Refusal::Type(..) => Self::EBUSY,
            Refusal::Device(_) => Self::EPERM,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits(level, pte) => {
                write!(f, "L{} entry {pte} has forbidden bits", level.number())
            }
            Self::CoreSlot => f.write_str("the L4 slot is the core's"),
            Self::NoFrame(mfn) => write!(f, "there is no frame {mfn}"),
            Self::NotOwned(mfn, wanted, state) if state.status == Status::Allocated => {
                write!(f, "frame {mfn} is d{}'s, not d{wanted}'s", state.owner)
            }
            Self::NotOwned(mfn, wanted, _) => write!(f, "frame {mfn} is free, not d{wanted}'s"),
            Self::TooMany(mfn) => write!(f, "frame {mfn} has too many references"),
            Self::Type(mfn, error) => write!(f, "frame {mfn} {error}"),
            Self::Device(mfn) => write!(f, "frame {mfn} is device memory or the core's"),
            Self::Misaligned => f.write_str("no entry lies at that address"),
            Self::Changed => f.write_str("the entry is another one"),
            Self::NoTable => f.write_str("no L1 table covers the address"),
        }
    }
}

/// Why an operation on tables is not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError {
    /// It may not be.
    Refused(Refusal),
    /// The budget is spent: the same call again resumes.
    Again,
}

impl From<Refusal> for TableError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// One domain's page tables with their lock held, the machine, and a budget.
#[derive(Debug)]
pub struct Space<'a, M> {
    machine: &'a M,
    owner: Owner<'a>,
    tables: &'a mut Tables,
    budget: &'a mut Budget,
}

/// What a taken type still needs.
enum Taken {
    /// Nothing.
    Done,
    /// The entries from this one on must be checked.
    Validate(TypeState, u16),
}

impl<'a, M: Machine> Space<'a, M> {
    /// The tables of `owner`, whose lock the caller holds.
    pub const fn new(
        machine: &'a M,
        owner: Owner<'a>,
        tables: &'a mut Tables,
        budget: &'a mut Budget,
    ) -> Self {
        Self {
            machine,
            owner,
            tables,
            budget,
        }
    }

    /// The domain whose tables these are.
    pub const fn owner(&self) -> &Owner<'a> {
        &self.owner
    }

    /// Whether the budget is spent.
    pub const fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }

    /// Takes `units` of the budget; says whether there was any left.
    pub const fn spend(&mut self, units: u32) -> bool {
        self.budget.spend(units)
    }

    /// Whether partial pages wait to be drained.
    pub const fn has_work(&self) -> bool {
        self.tables.has_work()
    }

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
        check: impl FnOnce(&super::machine::TableEntries) -> Result<(), Pte>,
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
        check: impl FnOnce(&super::machine::TableEntries) -> Result<(), Pte>,
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
    fn get_type_writable(&mut self, mfn: Mfn, page: &PageInfo) -> Result<(), Refusal> {
        if page.ty.get_shared(PageType::Writable) {
            return Ok(());
        }
        self.take_new_type(mfn, page, PageType::Writable).map(drop)
    }

    /// Takes the type `want` on a frame on which the caller holds a general reference.
    #[inline]
    fn take_type(&mut self, mfn: Mfn, page: &PageInfo, want: PageType) -> Result<Taken, Refusal> {
        if page.ty.get_shared(want) {
            return Ok(Taken::Done);
        }
        self.take_new_type(mfn, page, want)
    }

    fn take_new_type(
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
    fn put_type(&mut self, mfn: Mfn, page: &PageInfo) {
        let foreign = page.owner() != self.owner.id;
        if foreign || !page.ty.put_shared() {
            self.put_last_type(mfn, page, foreign);
        }
    }

    fn put_last_type(&mut self, mfn: Mfn, page: &PageInfo, foreign: bool) {
        let put = page.ty.change(|state| {
            let put = state.put(foreign)?;
            if matches!(put, Put::Idle(_)) {
                // Before the state says idle, so that whoever sees that sees this.
                page.set_stamp(self.machine.clock());
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

    fn link_work(&mut self, mfn: Mfn) {
        let Ok(number) = u32::try_from(mfn.get()) else {
            return;
        };
        let next = self.tables.work;
        self.set_work_links(number, |_| Links {
            prev: Links::NONE,
            next,
        });
        self.set_work_links(next, |links| Links {
            prev: number,
            ..links
        });
        self.tables.work = number;
    }

    fn unlink_work(&mut self, mfn: Mfn) {
        let Some(Links { prev, next }) = self.machine.page(mfn).map(PageInfo::work_links) else {
            return;
        };
        self.set_work_links(next, |links| Links { prev, ..links });
        if prev == Links::NONE {
            self.tables.work = next;
        } else {
            self.set_work_links(prev, |links| Links { next, ..links });
        }
    }

    fn set_work_links(&self, number: u32, change: impl FnOnce(Links) -> Links) {
        if number == Links::NONE {
            return;
        }
        if let Some(page) = self.machine.page(Mfn::new(u64::from(number))) {
            page.set_work_links(change(page.work_links()));
        }
    }
}
