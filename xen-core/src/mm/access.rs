//! Working on a domain's page tables and frames, for the rest of the core.
//!
//! [`with_space`] takes the lock of a domain's tables; [`hold`] keeps a single frame, for grants,
//! shared records and copies, without any lock.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;

use super::frame_table::{PageInfo, Status};
use super::hardware::Hardware;
use super::heap;
use super::machine::{Machine, Owner};
use super::page_type::PageType;
use super::pagetable::{Budget, Refusal, Space, TableError, Tables};
use crate::cpu::AtomicCpuMask;
use crate::domain::Domain;

/// What one call may do to page tables before it pauses: some hundred thousand instructions.
pub const CALL_BUDGET: u32 = 8192;

/// Works on the tables of `domain`, with their lock held.
#[inline]
pub fn with_space<R>(
    domain: &Domain,
    budget: &mut Budget,
    work: impl FnOnce(&mut Space<'_, Hardware>) -> R,
) -> R {
    let owner = Owner {
        id: domain.id,
        devices: domain.privileged,
        cpus: &domain.dirty_cpus,
    };
    let mut tables = domain.tables.lock();
    work(&mut Space::new(&Hardware, owner, &mut tables, budget))
}

/// Notes why something was refused, in the log that `xl dmesg` shows; rarely, if there is much.
pub fn note_refusal(domain: &Domain, what: fmt::Arguments<'_>, reason: impl fmt::Display) {
    if domain.memory.may_log() {
        log::warn!("d{}: {what} refused: {reason}", domain.id);
    }
}

/// The error number for the guest, with the reason in the log.
pub fn refused(domain: &Domain, what: fmt::Arguments<'_>, refusal: Refusal) -> Errno {
    note_refusal(domain, what, refusal);
    refusal.into()
}

/// What somebody who holds a frame does with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// Only reads it, or only keeps it from being freed.
    Read,
    /// Writes it: it must not serve as a table meanwhile.
    Write,
}

static READERS: AtomicU64 = AtomicU64::new(0);
static WRITERS: AtomicU64 = AtomicU64::new(0);

impl Hold {
    const fn counter(self) -> &'static AtomicU64 {
        match self {
            Self::Read => &READERS,
            Self::Write => &WRITERS,
        }
    }

    /// How many holds of this kind there are, for the sweep.
    pub fn outstanding(self) -> u64 {
        self.counter().load(Ordering::Relaxed)
    }
}

/// Keeps a frame of `owner`: not freed, and with [`Hold::Write`] not turned into a table.
/// [`let_go`] ends that.
///
/// # Errors
/// When it is not the owner's, or serves as something that must not be written.
#[inline]
pub fn hold(owner: DomId, mfn: Mfn, hold: Hold) -> Result<(), Refusal> {
    if !hold_shared(owner, mfn, hold) {
        hold_first(owner, mfn, hold)?;
    }
    hold.counter().fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// The usual case in the few instructions it takes: a frame that is its owner's, and in use as what
/// it is wanted for.
#[inline]
fn hold_shared(owner: DomId, mfn: Mfn, hold: Hold) -> bool {
    let Some(page) = heap::page(mfn) else {
        return false;
    };
    if page.get(owner).is_err() {
        return false;
    }
    let held = hold == Hold::Read || page.ty.get_shared(PageType::Writable);
    if !held && page.put() {
        Hardware.release(mfn, page);
    }
    held
}

/// Every other case, and the reason when there is none.
#[cold]
fn hold_first(owner: DomId, mfn: Mfn, hold: Hold) -> Result<(), Refusal> {
    on_behalf_of_nobody(|space| match hold {
        Hold::Read => space.get_page(mfn, owner).map(drop),
        Hold::Write => space.get_writable(mfn, owner).map(drop),
    })
}

/// Ends what [`hold`] began.
#[inline]
pub fn let_go(mfn: Mfn, hold: Hold) {
    let Some(page) = heap::page(mfn) else {
        return;
    };
    hold.counter().fetch_sub(1, Ordering::Relaxed);
    // The core's own hold is in no TLB, so while others use the frame nothing has to be noted.
    if hold == Hold::Write && !page.ty.put_shared() {
        let_go_last(mfn, page);
    } else if page.put() {
        Hardware.release(mfn, page);
    }
}

/// Nobody else writes the frame any more.
#[cold]
fn let_go_last(mfn: Mfn, page: &PageInfo) {
    on_behalf_of_nobody(|space| space.put_writable(mfn, page));
}

/// A space without tables: holding frames changes none. All frames are foreign to it, so a table
/// that its own domain is still taking apart is refused rather than helped along.
fn on_behalf_of_nobody<R>(work: impl FnOnce(&mut Space<'_, Hardware>) -> R) -> R {
    static NO_CPUS: AtomicCpuMask = AtomicCpuMask::new();
    let owner = Owner {
        id: DomId::INVALID,
        devices: false,
        cpus: &NO_CPUS,
    };
    let mut tables = Tables::new();
    let mut budget = Budget::new(0);
    work(&mut Space::new(&Hardware, owner, &mut tables, &mut budget))
}

/// A frame that is kept until this value goes.
#[derive(Debug)]
pub struct HeldFrame {
    mfn: Mfn,
    hold: Hold,
}

impl HeldFrame {
    /// Keeps a frame of `owner`.
    ///
    /// # Errors
    /// As for [`hold`].
    pub fn new(owner: DomId, mfn: Mfn, how: Hold) -> Result<Self, Refusal> {
        hold(owner, mfn, how)?;
        Ok(Self { mfn, hold: how })
    }

    /// The frame.
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }
}

impl Drop for HeldFrame {
    fn drop(&mut self) {
        let_go(self.mfn, self.hold);
    }
}

/// What a frame serves as, for the toolstack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameUse {
    /// The level, if it is a page table.
    pub table_level: Option<u8>,
    /// Whether it is pinned.
    pub pinned: bool,
}

/// What a frame of `owner` serves as; `None` if it has no such frame.
pub fn frame_use(owner: DomId, mfn: Mfn) -> Option<FrameUse> {
    let page = heap::page(mfn)?;
    let refs = page.refs();
    if refs.status != Status::Allocated || refs.owner != owner {
        return None;
    }
    let state = page.ty.load();
    let table_level = match state.live_table().map(PageType::table) {
        Some(PageType::L1) => Some(1),
        Some(PageType::L2) => Some(2),
        Some(PageType::L3) => Some(3),
        Some(PageType::L4) => Some(4),
        _ => None,
    };
    Some(FrameUse {
        table_level,
        pinned: state.is_pinned(),
    })
}

/// Turns a table error into what a hypercall answers; the reason goes to the log.
pub fn stop_for(
    domain: &Domain,
    what: fmt::Arguments<'_>,
    error: TableError,
) -> crate::hypercall::Stop {
    match error {
        TableError::Again => crate::hypercall::Stop::Again,
        TableError::Refused(refusal) => refused(domain, what, refusal).into(),
    }
}
