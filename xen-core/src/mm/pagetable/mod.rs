//! Guest page tables: what they may contain, and who relies on what.
//!
//! The rule: a page is never writable by a guest while it serves as a page table, and every
//! present entry of a validated table holds one reference on what it points at, a typed one
//! unless it is a read-only L1 entry. [`Space`] is one domain's tables, with its lock held;
//! [`validate`] turns pages into tables, [`drain`] turns them back, [`update`] changes entries,
//! [`leaf`] knows what an L1 entry may map, [`walk`] finds entries by address; `refs` takes and
//! gives back what they hold, `work` is the list of pages to be drained.
//!
//! There is no recursion and no unbounded work: validation walks with a stack four deep and a
//! [`Budget`]; what it cannot finish rests as a partial page in the domain's work list. A table
//! whose last user leaves goes there, too, and its children follow one at a time.

pub mod drain;
pub mod entry;
pub mod leaf;
mod refs;
pub mod update;
pub mod validate;
pub mod walk;
mod work;

#[cfg(test)]
mod model;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
pub(in crate::mm) mod test_machine;

use core::fmt;

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;
use guest_abi::mmu::Pte;

use super::frame_table::{Links, RefState, Status};
use super::machine::{Machine, Owner};
use super::page_type::TypeError;
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
}
