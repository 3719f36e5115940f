//! A small machine with a guest and a host, operations on it, and what must be true after each:
//! every count is what the tables themselves say, and no CPU has anything dangerous cached.
#![expect(
    clippy::cast_possible_truncation,
    reason = "a handful of frames, on a 64-bit host"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;
use guest_abi::mmu::Pte;
use proptest::prelude::{Strategy, any};

use super::entry::{Level, is_core_slot, is_writable};
use super::test_machine::{GUEST, HOST, TestMachine, pte, slot};
use super::update::Bits;
use super::{TableError, Tables};
use crate::debug::sweep::Sweep;
use crate::mm::frame_table::Status;
use crate::mm::page_type::{PageType, Phase};

pub(super) const FRAMES: u64 = 24;
/// HOST's own tables: an L1 under an L2 under an L3 under an L4, validated at the start.
const HOST_ROOT: u64 = 20;
pub(super) const HOST_L1: u64 = 23;
/// The entries in play: the ends of a table, the border of the core's slots, and some between.
const INDICES: [usize; 6] = [0, 1, 255, 256, 272, 511];
const LEVELS: [Level; 4] = [Level::L1, Level::L2, Level::L3, Level::L4];

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Pin(u64, Level),
    Unpin(u64),
    Update(u64, usize, Pte, bool),
    Exchange(u64, usize, Pte),
    NewRoot(u64),
    ForeignMap(usize, u64, bool),
    ForeignUnmap(usize),
    GiveUp(u64),
    Descriptors(u64),
    PutDescriptors,
    Drain,
    /// The guest writes memory that some L1 entry lets it write.
    Poke(u64, usize, Pte),
}

pub(super) fn any_op() -> impl Strategy<Value = Op> {
    let flags = [0u64, 1, 3, 3, 3, 7, 5, 0x83, 0x63, 1 << 63 | 1];
    (
        any::<u8>(),
        0..20u64,
        0..6usize,
        0..20u64,
        0..10usize,
        0..4usize,
    )
        .prop_map(move |(kind, a, i, b, f, level)| {
            let index = INDICES[i];
            let entry = pte(b, flags[f]);
            match kind % 32 {
                0..6 => Op::Pin(a, LEVELS[level]),
                6..9 => Op::Unpin(a),
                9..15 => Op::Update(a, index, entry, kind > 128),
                15..17 => Op::Exchange(a, index, entry),
                17..19 => Op::NewRoot(a),
                19..21 => Op::ForeignMap(index, b, f % 2 == 0),
                21 => Op::ForeignUnmap(index),
                22 => Op::GiveUp(a),
                23 => Op::Descriptors(a),
                24 => Op::PutDescriptors,
                25 => Op::Drain,
                _ => Op::Poke(a, index, entry),
            }
        })
}

/// The machine, and what the model must know beside it.
pub(super) struct World {
    pub(super) machine: TestMachine,
    guest: Tables,
    host: Tables,
    root: Option<u64>,
    descriptors: Vec<u64>,
    budget: u32,
    tlb: RefCell<Tlb>,
}

/// What a CPU could still have cached: all it could have seen since the last flush.
#[derive(Default)]
struct Tlb {
    flushes: u32,
    writable: BTreeSet<u64>,
    tables: BTreeSet<u64>,
}

impl World {
    pub(super) fn new(budget: u32) -> Self {
        let machine = TestMachine::new(FRAMES as usize);
        let mut host = Tables::new();
        for frame in HOST_ROOT..FRAMES {
            machine.pages[frame as usize].assign(HOST, false);
            if frame < HOST_L1 {
                machine.poke(frame, 0, pte(frame + 1, 7).get());
            }
        }
        machine
            .with(HOST, &mut host, 10_000, |s| {
                s.pin(Mfn::new(HOST_ROOT), Level::L4)
            })
            .unwrap();
        Self {
            machine,
            guest: Tables::new(),
            host,
            root: None,
            descriptors: Vec::new(),
            budget,
            tlb: RefCell::default(),
        }
    }

    /// Writes tables that are as they should be: from each of four frames on an L4, L3, L2 and L1,
    /// shared with the tree before at every level.
    pub(super) fn plant(&self, tree: u64) {
        let first = tree * 4;
        for level in 0..3 {
            let table = first + level;
            self.machine.poke(table, 1, pte(table + 1, 7).get());
            if tree > 0 {
                self.machine.poke(table, 255, pte(table - 3, 7).get());
            }
        }
        for (index, frame) in INDICES.into_iter().zip(16..HOST_ROOT) {
            self.machine.poke(first + 3, index, pte(frame, 3).get());
        }
    }

    /// Runs an operation until it no longer asks to be resumed; now and then gives up half-way.
    pub(super) fn retry(
        &mut self,
        patience: u32,
        mut op: impl FnMut(&mut super::Space<'_, TestMachine>) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        for _ in 0..patience {
            let result = self
                .machine
                .with(GUEST, &mut self.guest, self.budget, &mut op);
            if result != Err(TableError::Again) {
                return result;
            }
            self.check();
        }
        Err(TableError::Again)
    }

    pub(super) fn run(&mut self, op: Op) {
        match op {
            Op::Pin(f, level) => drop(self.retry(f as u32 + 1, |s| s.pin(Mfn::new(f), level))),
            Op::Unpin(f) => drop(self.retry(1, |s| Ok(s.unpin(Mfn::new(f))?))),
            Op::Update(f, i, entry, preserve) => {
                let bits = if preserve {
                    Bits::PreserveAd
                } else {
                    Bits::AsGiven
                };
                let _ = self.retry(f as u32 + 1, |s| s.update(slot(f, i), entry, GUEST, bits));
            }
            Op::Exchange(f, i, entry) => {
                let old = self.machine.peek(f, i);
                let _ = self.retry(1, |s| {
                    s.compare_exchange(slot(f, i), old, entry)?;
                    Ok(())
                });
            }
            Op::NewRoot(f) => self.new_root(f),
            Op::ForeignMap(i, f, writable) => {
                self.host_update(i, pte(f, if writable { 3 } else { 1 }), GUEST);
            }
            Op::ForeignUnmap(i) => self.host_update(i, Pte::EMPTY, GUEST),
            Op::GiveUp(f) => self.give_up(f),
            Op::Descriptors(f) => {
                let accept = f.is_multiple_of(3);
                let got = self.machine.with(GUEST, &mut self.guest, 100, |s| {
                    s.get_descriptors(Mfn::new(f), |_| accept.then_some(()).ok_or(Pte::EMPTY))
                });
                if got.is_ok() {
                    self.descriptors.push(f);
                }
            }
            Op::PutDescriptors => {
                if let Some(f) = self.descriptors.pop() {
                    self.machine.with(GUEST, &mut self.guest, 100, |s| {
                        s.put_descriptors(Mfn::new(f));
                    });
                }
            }
            Op::Drain => drop(
                self.machine
                    .with(GUEST, &mut self.guest, self.budget, |s| s.drain()),
            ),
            Op::Poke(f, i, entry) => self.poke(f, i, entry),
        }
    }

    fn new_root(&mut self, f: u64) {
        if self
            .retry(f as u32 + 1, |s| s.get_table(Mfn::new(f), Level::L4))
            .is_ok()
            && let Some(old) = self.root.replace(f)
        {
            self.put_root(old);
        }
    }

    fn put_root(&mut self, f: u64) {
        self.machine.with(GUEST, &mut self.guest, self.budget, |s| {
            s.put_table(Mfn::new(f));
        });
    }

    pub(super) fn host_update(&mut self, index: usize, entry: Pte, owner: DomId) {
        let _ = self.machine.with(HOST, &mut self.host, 100, |s| {
            s.update(slot(HOST_L1, index), entry, owner, Bits::AsGiven)
        });
    }

    fn give_up(&mut self, f: u64) {
        let page = &self.machine.pages[f as usize];
        if page.give_up(GUEST).is_ok() {
            self.machine.with(GUEST, &mut self.guest, 100, |s| {
                s.put_page(Mfn::new(f), page);
            });
        }
    }

    fn poke(&mut self, f: u64, i: usize, entry: Pte) {
        let state = self.machine.pages[f as usize].ty.load();
        let refs = self.machine.pages[f as usize].refs();
        let untouched = state.is_idle() && refs.status == Status::Allocated;
        if state.ty() == PageType::Writable && state.count() > 0 || untouched {
            self.machine.poke(f, i, entry.get());
        }
    }

    /// Every count equals what the tables, the pins and the roots add up to.
    pub(super) fn check(&self) {
        let mut want = Recount::default();
        for frame in 0..FRAMES {
            want.table(&self.machine, frame);
        }
        self.root.into_iter().for_each(|f| want.typed(f));
        self.descriptors.iter().for_each(|&f| want.typed(f));
        for frame in 0..FRAMES {
            let page = &self.machine.pages[frame as usize];
            let refs = page.refs();
            let state = page.ty.load();
            let claim = u32::from(refs.status == Status::Allocated);
            let (general, types) = want.of(frame);
            assert_eq!(
                refs.refs,
                general + claim,
                "references of {frame}: {state:?}"
            );
            assert_eq!(state.count(), types, "type count of {frame}: {state:?}");
            assert_ne!(state.phase(), Phase::Validating, "frame {frame}");
            if want.writers.contains_key(&frame) {
                assert_eq!(state.ty(), PageType::Writable, "frame {frame}: {state:?}");
            }
        }
        self.sweep();
        self.check_tlb(want.writers.keys().copied().collect());
        let released = self.machine.released.borrow();
        for &frame in released.iter() {
            assert_eq!(
                want.of(frame),
                (0, 0),
                "frame {frame} was freed while in use"
            );
        }
    }

    /// No CPU could write a table, or use as a table what a guest may write, through anything it
    /// has cached.
    fn check_tlb(&self, writable: BTreeSet<u64>) {
        let mut tlb = self.tlb.borrow_mut();
        let flushes = self.machine.flushes.get();
        if std::mem::replace(&mut tlb.flushes, flushes) != flushes {
            tlb.writable = self.machine.writable_at_flush.borrow().clone();
            tlb.tables = self.machine.tables_at_flush.borrow().clone();
        }
        for frame in &writable {
            assert!(!tlb.tables.contains(frame), "{frame} may still be walked");
        }
        tlb.writable.extend(writable);
        tlb.tables.extend(self.machine.live_tables());
        for &frame in &tlb.writable {
            let Some(page) = self.machine.pages.get(frame as usize) else {
                continue;
            };
            let state = page.ty.load();
            let is_read_by_cpus = state.live_table().is_some()
                || state.ty() == PageType::Descriptors && state.count() > 0;
            assert!(!is_read_by_cpus, "{frame} may still be written: {state:?}");
        }
    }

    /// The core's own sweep agrees: nothing is wrong, and nothing is left over.
    fn sweep(&self) {
        let roots = self.root.map(Mfn::new);
        let mut report = |violation| panic!("{violation}");
        let mut sweep = Sweep::count(&self.machine, FRAMES as usize, roots, &mut report).unwrap();
        sweep.compare(&mut report);
        assert_eq!(sweep.surplus(), (0, 0));
    }

    /// Takes everything apart; nothing may remain.
    pub(super) fn tear_down(mut self) {
        if let Some(root) = self.root.take() {
            self.put_root(root);
        }
        while let Some(f) = self.descriptors.pop() {
            self.machine.with(GUEST, &mut self.guest, 100, |s| {
                s.put_descriptors(Mfn::new(f));
            });
        }
        for i in INDICES {
            self.host_update(i, Pte::EMPTY, GUEST);
        }
        for f in 0..HOST_ROOT {
            let _ = self.retry(1, |s| Ok(s.unpin(Mfn::new(f))?));
            self.give_up(f);
            self.check();
        }
        while !self
            .machine
            .with(GUEST, &mut self.guest, self.budget, |s| s.drain())
        {
            self.check();
        }
        assert_eq!(self.machine.released.borrow().len(), HOST_ROOT as usize);
    }
}

#[derive(Default)]
struct Recount {
    counts: BTreeMap<u64, (u32, u32)>,
    writers: BTreeMap<u64, u32>,
}

impl Recount {
    fn of(&self, frame: u64) -> (u32, u32) {
        self.counts.get(&frame).copied().unwrap_or_default()
    }

    fn typed(&mut self, frame: u64) {
        let (general, types) = self.counts.entry(frame).or_default();
        *general += 1;
        *types += 1;
    }

    fn table(&mut self, machine: &TestMachine, frame: u64) {
        let state = machine.pages[frame as usize].ty.load();
        if state.is_pinned() {
            self.typed(frame);
        }
        let entries = match state.phase() {
            Phase::Settled if state.count() > 0 => 512,
            Phase::Partial(done) => {
                // A partial page holds itself.
                self.counts.entry(frame).or_default().0 += 1;
                usize::from(done)
            }
            _ => return,
        };
        let Some(level) = state.ty().level() else {
            return;
        };
        for index in 0..entries {
            let entry = machine.peek(frame, index);
            if entry.is_present() && !(level == Level::L4 && is_core_slot(index)) {
                self.entry(level, entry);
            }
        }
    }

    fn entry(&mut self, level: Level, entry: Pte) {
        let frame = entry.frame().get();
        if level == Level::L1 && !is_writable(entry) {
            self.counts.entry(frame).or_default().0 += 1;
            return;
        }
        self.typed(frame);
        if level == Level::L1 {
            *self.writers.entry(frame).or_default() += 1;
        }
    }
}
