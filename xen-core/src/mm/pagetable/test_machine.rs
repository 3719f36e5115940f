//! A machine of a few frames, for tests.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a handful of frames, on a 64-bit host"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;
use guest_abi::mmu::Pte;

use super::entry::is_core_slot;
use super::walk::Slot;
use super::{Budget, Space, Tables};
use crate::cpu::AtomicCpuMask;
use crate::mm::frame_table::PageInfo;
use crate::mm::machine::{Machine, Owner, TableEntries};
use crate::mm::page_type::{PageType, Scope, TypeState};

/// The domain whose tables the tests work on.
pub(in crate::mm) const GUEST: DomId = DomId::new(1);
/// A privileged one that maps its frames.
pub(in crate::mm) const HOST: DomId = DomId::new(0);
/// The mark in the slots of a root that belong to the core.
pub(in crate::mm) const CORE_ENTRY: u64 = 0xc0e_0000_0000_0001;

/// Frames, tables, and a TLB that remembers which frames could still be written through it.
pub(in crate::mm) struct TestMachine {
    pub(in crate::mm) pages: Vec<PageInfo>,
    tables: Vec<TableEntries>,
    clock: Cell<u64>,
    flushed: Cell<u64>,
    pub(in crate::mm) flushes: Cell<u32>,
    pub(in crate::mm) writable_at_flush: RefCell<BTreeSet<u64>>,
    pub(in crate::mm) tables_at_flush: RefCell<BTreeSet<u64>>,
    pub(in crate::mm) released: RefCell<BTreeSet<u64>>,
    /// What another CPU does right after the clock was read next.
    pub(in crate::mm) meanwhile: Cell<Option<fn(&Self)>>,
    cpus: AtomicCpuMask,
}

impl TestMachine {
    /// `frames` frames, all of them owned by [`GUEST`].
    pub(in crate::mm) fn new(frames: usize) -> Self {
        let pages: Vec<_> = (0..frames).map(|_| PageInfo::default()).collect();
        for page in &pages {
            page.assign(GUEST, false);
        }
        Self {
            pages,
            tables: (0..frames)
                .map(|_| std::array::from_fn(|_| AtomicU64::new(0)))
                .collect(),
            clock: Cell::new(1),
            flushed: Cell::new(0),
            flushes: Cell::new(0),
            writable_at_flush: RefCell::default(),
            tables_at_flush: RefCell::default(),
            released: RefCell::default(),
            meanwhile: Cell::new(None),
            cpus: AtomicCpuMask::new(),
        }
    }

    /// The frames that serve as page tables now.
    pub(in crate::mm) fn live_tables(&self) -> BTreeSet<u64> {
        self.frames_with(|state| state.live_table().is_some())
    }

    fn writable(&self) -> BTreeSet<u64> {
        self.frames_with(|state| state.ty() == PageType::Writable && state.count() > 0)
    }

    fn frames_with(&self, is_meant: impl Fn(TypeState) -> bool) -> BTreeSet<u64> {
        let pages = (0..).zip(&self.pages);
        let meant = pages.filter(|(_, page)| is_meant(page.ty.load()));
        meant.map(|(frame, _)| frame).collect()
    }

    pub(in crate::mm) fn owner(&self, id: DomId) -> Owner<'_> {
        Owner {
            id,
            devices: id == HOST,
            cpus: &self.cpus,
        }
    }

    /// Works on the tables of `id` with `units` of budget.
    pub(in crate::mm) fn with<R>(
        &self,
        id: DomId,
        tables: &mut Tables,
        units: u32,
        work: impl FnOnce(&mut Space<'_, Self>) -> R,
    ) -> R {
        let mut budget = Budget::new(units);
        work(&mut Space::new(self, self.owner(id), tables, &mut budget))
    }

    /// Writes memory as the guest would through a writable mapping.
    pub(in crate::mm) fn poke(&self, table: u64, index: usize, value: u64) {
        self.tables[table as usize][index].store(value, Ordering::Relaxed);
    }

    pub(in crate::mm) fn peek(&self, table: u64, index: usize) -> Pte {
        Pte::new(self.tables[table as usize][index].load(Ordering::Relaxed))
    }
}

impl Machine for TestMachine {
    fn page(&self, mfn: Mfn) -> Option<&PageInfo> {
        self.pages.get(mfn.get() as usize)
    }

    fn entries(&self, mfn: Mfn) -> &TableEntries {
        &self.tables[mfn.get() as usize]
    }

    fn clock(&self) -> u64 {
        let now = self.clock.get();
        if let Some(act) = self.meanwhile.take() {
            act(self);
        }
        now
    }

    fn flush(&self, _owner: &Owner<'_>, _scope: Scope, since: u64) {
        if self.flushed.get() <= since {
            self.clock.set(self.clock.get() + 1);
            self.flushed.set(self.clock.get());
            self.flushes.set(self.flushes.get() + 1);
            self.writable_at_flush.replace(self.writable());
            self.tables_at_flush.replace(self.live_tables());
        }
    }

    fn release(&self, mfn: Mfn, page: &PageInfo) {
        assert!(
            page.ty.load().is_idle(),
            "frame {mfn} is freed while in use"
        );
        assert!(
            self.released.borrow_mut().insert(mfn.get()),
            "frame {mfn} is freed twice"
        );
        page.reclaim();
    }

    fn fill_core_slots(&self, root: &TableEntries) {
        for (index, slot) in root.iter().enumerate() {
            if is_core_slot(index) {
                slot.store(CORE_ENTRY, Ordering::Relaxed);
            }
        }
    }

    fn is_device(&self, mfn: Mfn) -> bool {
        mfn.get() >= 0x1000
    }
}

/// A slot by plain numbers.
pub(in crate::mm) fn slot(table: u64, index: usize) -> Slot {
    Slot {
        table: Mfn::new(table),
        index,
    }
}

/// An entry for a frame.
pub(in crate::mm) fn pte(frame: u64, flags: u64) -> Pte {
    Pte::new(frame << 12 | flags)
}
