//! The invariants of memory, checked over all of it.
//!
//! Every reference and every use of a frame's type is counted afresh from the tables themselves,
//! from pins, roots and owners' claims, and compared with what the frame table says:
//! - a frame that is mapped writable serves as nothing else, and so no table is writable;
//! - no frame has fewer references than there are users, and none is free while it has any;
//! - what is beyond the recount is exactly what the rest of the core holds (grants, `vcpu_info`);
//! - each domain's account equals the frames that carry its number.
//!
//! The guests go on meanwhile, so a single difference proves nothing: a sweep that finds some is
//! repeated, and only what every sweep finds is reported.

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;
use guest_abi::mmu::Pte;

use crate::domain;
use crate::mm::frame_table::{PageInfo, Status};
use crate::mm::hardware::Hardware;
use crate::mm::machine::Machine;
use crate::mm::page_type::{ENTRIES, PageType, Phase, TypeState};
use crate::mm::pagetable::entry::{Level, is_core_slot, is_writable};
use crate::mm::roots::{Which, root};
use crate::mm::{Hold, heap};

/// How often a sweep with differences is repeated before they are believed.
const ATTEMPTS: u32 = 5;
/// How many differences a sweep remembers.
const KEPT: usize = 256;
/// How many of them are logged one by one.
const SHOWN: usize = 20;

/// A difference between the frame table and the recount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// Mapped writable, and serves as something else.
    WritableTable(Mfn, PageType),
    /// Fewer references than users: has, found.
    Undercounted(Mfn, u32, u32),
    /// Fewer users of the type than found: has, found.
    UndercountedType(Mfn, PageType, u32, u32),
    /// Mapped, but nobody's RAM.
    Unowned(Mfn),
    /// A table entry leads to what is no table of the level below.
    WrongLevel(Mfn, PageType),
    /// References beyond the recount: has, held by the core.
    Surplus(u64, u64),
    /// Uses as writable page beyond the recount: has, held by the core.
    SurplusWriters(u64, u64),
    /// A domain's account: says, found.
    Account(DomId, u64, u64),
    /// Not enough memory to count in.
    NoMemory,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WritableTable(mfn, ty) => write!(f, "frame {mfn} is mapped writable but {ty}"),
            Self::Undercounted(mfn, has, found) => {
                write!(f, "frame {mfn} counts {has} references, found {found}")
            }
            Self::UndercountedType(mfn, ty, has, found) => {
                write!(f, "frame {mfn} is {ty} to {has} users, found {found}")
            }
            Self::Unowned(mfn) => write!(f, "frame {mfn} is mapped but nobody's"),
            Self::WrongLevel(mfn, ty) => write!(f, "frame {mfn} is used as a table but {ty}"),
            Self::Surplus(has, held) => {
                write!(
                    f,
                    "{has} references beyond the recount, the core holds {held}"
                )
            }
            Self::SurplusWriters(has, held) => {
                write!(f, "{has} writers beyond the recount, the core holds {held}")
            }
            Self::Account(id, says, found) => write!(f, "d{id} counts {says} pages, found {found}"),
            Self::NoMemory => f.write_str("no memory to count in"),
        }
    }
}

/// What was found of one frame.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    references: u32,
    uses: u32,
    writers: u32,
}

/// The recount of a machine's frames.
#[derive(Debug)]
pub struct Sweep<'a, M> {
    machine: &'a M,
    found: Vec<Found>,
    /// How many tables there are.
    pub tables: u64,
    surplus: u64,
    surplus_writers: u64,
}

impl<'a, M: Machine> Sweep<'a, M> {
    /// Counts what the tables, pins and claims of the first `frames` frames add up to, and
    /// `roots` beside them.
    ///
    /// # Errors
    /// Entries that no recount is needed for to see that they are wrong go to `report`.
    pub fn count(
        machine: &'a M,
        frames: usize,
        roots: impl IntoIterator<Item = Mfn>,
        report: &mut impl FnMut(Violation),
    ) -> Option<Self> {
        let mut found = Vec::new();
        if found.try_reserve_exact(frames).is_err() {
            report(Violation::NoMemory);
            return None;
        }
        found.resize(frames, Found::default());
        let mut sweep = Self {
            machine,
            found,
            tables: 0,
            surplus: 0,
            surplus_writers: 0,
        };
        for mfn in (0..).map(Mfn::new).take(frames) {
            if let Some(page) = machine.page(mfn) {
                sweep.count_frame(mfn, page, report);
            }
        }
        for mfn in roots {
            sweep.add(mfn, 1, 1);
        }
        Some(sweep)
    }

    fn add(&mut self, mfn: Mfn, references: u32, uses: u32) {
        let index = usize::try_from(mfn.get()).unwrap_or(usize::MAX);
        if let Some(found) = self.found.get_mut(index) {
            found.references += references;
            found.uses += uses;
        }
    }

    fn count_frame(&mut self, mfn: Mfn, page: &PageInfo, report: &mut impl FnMut(Violation)) {
        let refs = page.refs();
        match refs.status {
            Status::Void | Status::FreeBlock => return,
            // The core itself writes the pages that it lends.
            Status::Allocated => self.add(mfn, 1, u32::from(refs.lent)),
            Status::GivenUp => {}
        }
        let state = page.ty.load();
        if state.is_pinned() {
            self.add(mfn, 1, 1);
        }
        let (done, level) = match (state.phase(), state.ty().level()) {
            (Phase::Settled, Some(level)) if state.count() > 0 => (ENTRIES, level),
            (Phase::Partial(done), Some(level)) => {
                // A partial page holds itself.
                self.add(mfn, 1, 0);
                (done, level)
            }
            _ => return,
        };
        self.tables += 1;
        self.count_entries(mfn, level, done, report);
    }

    fn count_entries(
        &mut self,
        table: Mfn,
        level: Level,
        done: u16,
        report: &mut impl FnMut(Violation),
    ) {
        let machine = self.machine;
        let entries = machine.entries(table).iter().enumerate();
        for (index, slot) in entries.take(usize::from(done)) {
            let pte = Pte::new(slot.load(Ordering::Relaxed));
            if !pte.is_present() || level == Level::L4 && is_core_slot(index) {
                continue;
            }
            match level.below() {
                None => self.count_leaf(pte, report),
                Some(below) => self.count_table(pte.frame(), below, report),
            }
        }
    }

    fn count_leaf(&mut self, pte: Pte, report: &mut impl FnMut(Violation)) {
        let mfn = pte.frame();
        let status = self.machine.page(mfn).map(|page| page.refs().status);
        match status {
            None | Some(Status::Void) if self.machine.is_device(mfn) => return,
            None | Some(Status::Void | Status::FreeBlock) => {
                report(Violation::Unowned(mfn));
                return;
            }
            Some(Status::Allocated | Status::GivenUp) => {}
        }
        let writers = u32::from(is_writable(pte));
        self.add(mfn, 1, writers);
        let index = usize::try_from(mfn.get()).unwrap_or(usize::MAX);
        if let Some(found) = self.found.get_mut(index) {
            found.writers += writers;
        }
    }

    fn count_table(&mut self, mfn: Mfn, level: Level, report: &mut impl FnMut(Violation)) {
        let state = self.machine.page(mfn).map(|page| page.ty.load());
        if state.and_then(TypeState::live_table) != Some(level) {
            report(Violation::WrongLevel(
                mfn,
                state.map_or(PageType::None, TypeState::ty),
            ));
        }
        self.add(mfn, 1, 1);
    }

    /// Compares the recount with the frame table.
    pub fn compare(&mut self, report: &mut impl FnMut(Violation)) {
        let found = core::mem::take(&mut self.found);
        for (mfn, found) in (0..).map(Mfn::new).zip(&found) {
            if let Some(page) = self.machine.page(mfn) {
                self.compare_frame(mfn, page, *found, report);
            }
        }
        self.found = found;
    }

    fn compare_frame(
        &mut self,
        mfn: Mfn,
        page: &PageInfo,
        found: Found,
        report: &mut impl FnMut(Violation),
    ) {
        let refs = page.refs();
        if matches!(refs.status, Status::Void | Status::FreeBlock) {
            return;
        }
        let state = page.ty.load();
        if found.writers > 0 && (state.ty() != PageType::Writable || state.count() == 0) {
            report(Violation::WritableTable(mfn, state.ty()));
        }
        if refs.refs < found.references {
            report(Violation::Undercounted(mfn, refs.refs, found.references));
        }
        if state.count() < found.uses {
            let (ty, count) = (state.ty(), state.count());
            report(Violation::UndercountedType(mfn, ty, count, found.uses));
        }
        let references = refs.refs.saturating_sub(found.references);
        let uses = state.count().saturating_sub(found.uses);
        match state.ty() {
            // Each descriptor table that shows the page is a user with a reference.
            PageType::Descriptors => self.surplus += u64::from(references.saturating_sub(uses)),
            PageType::Writable => {
                self.surplus += u64::from(references);
                self.surplus_writers += u64::from(uses);
            }
            _ => self.surplus += u64::from(references) + u64::from(uses),
        }
    }

    /// References, and uses as writable page, that neither tables nor owners account for.
    pub const fn surplus(&self) -> (u64, u64) {
        (self.surplus, self.surplus_writers)
    }
}

/// Sweeps all of memory once; answers with the number of tables.
fn sweep_once(report: &mut impl FnMut(Violation)) -> u64 {
    let frames = usize::try_from(heap::totals().frames).unwrap_or(0);
    let domains = domain::table::all();
    let roots = domains.iter().flat_map(|domain| {
        domain.vcpus().iter().flat_map(|vcpu| {
            [Which::Kernel, Which::User]
                .into_iter()
                .filter_map(|which| root(vcpu, which))
        })
    });
    let Some(mut sweep) = Sweep::count(&Hardware, frames, roots, report) else {
        return 0;
    };
    sweep.compare(report);
    let (surplus, writers) = sweep.surplus();
    let write_holds = Hold::Write.outstanding();
    let holds = Hold::Read.outstanding() + write_holds;
    if surplus != holds {
        report(Violation::Surplus(surplus, holds));
    }
    if writers != write_holds {
        report(Violation::SurplusWriters(writers, write_holds));
    }
    for domain in &domains {
        let found = heap::all_pages()
            .map(|(_, page)| page.refs())
            .filter(|refs| matches!(refs.status, Status::Allocated | Status::GivenUp))
            .filter(|refs| !refs.lent && refs.owner == domain.id);
        let (says, found) = (domain.memory.total_pages(), found.count() as u64);
        if says != found {
            report(Violation::Account(domain.id, says, found));
        }
    }
    sweep.tables
}

/// The differences of one sweep, as many as are worth keeping, and the number of tables.
fn differences() -> (Vec<Violation>, u64) {
    let mut kept = Vec::new();
    let tables = sweep_once(&mut |violation| {
        if kept.len() < KEPT && kept.try_reserve(1).is_ok() {
            kept.push(violation);
        }
    });
    (kept, tables)
}

/// Sweeps all of memory, and logs what is wrong, in lines that begin with `sweep:`. Answers with
/// the number of differences.
pub fn run() -> usize {
    let (mut lasting, mut tables) = differences();
    for _ in 1..ATTEMPTS {
        if lasting.is_empty() {
            break;
        }
        let again;
        (again, tables) = differences();
        lasting.retain(|violation| again.contains(violation));
    }
    if lasting.is_empty() {
        let (frames, free) = (heap::totals().frames, heap::totals().free);
        log::info!("sweep: clean, {frames} frames, {free} free, {tables} page tables");
        return 0;
    }
    for violation in lasting.iter().take(SHOWN) {
        log::error!("sweep: {violation}");
    }
    log::error!("sweep: {} violations", lasting.len());
    lasting.len()
}
