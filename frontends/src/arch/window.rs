//! The window: addresses at which foreign frames and device memory appear.
//!
//! A gigabyte of address space above the linear map. Its page tables are made
//! on demand and never go away. Places are given out in a circle, so that one
//! is used again only after a whole turn; the TLB is flushed once a turn
//! instead of at every unmapping.

use alloc::vec::Vec;
use core::{ops::Deref, ptr::NonNull};

use guest_abi::{
    DomId, Errno, GuestVirtAddr, Hypercall, MachAddr, Mfn, PAGE_SIZE,
    grant_table::{GrantStatus, GrantTableOp, MapFlags, MapGrantRef, UnmapGrantRef},
    ids::{DomIdArg, GrantHandle, GrantRef},
    mmu::{ENTRIES_PER_TABLE, MmuUpdate, MmuextCommand, MmuextOp, Pte, PteFlags},
};
use spin::Mutex;

use super::{
    bytes::{SharedBytes, pointer},
    hypercall, memory,
};
use crate::places::{Found, Places};

/// The window's first address: slot 511 of the kernel's L3.
const BASE: u64 = 0xffff_ffff_c000_0000;
const L3_SLOT: usize = 511;
/// L1 tables the window has room for; the last 2 MiB of addresses stay unused.
const TABLES: usize = ENTRIES_PER_TABLE - 1;
/// Pages in the window.
const PAGES: usize = TABLES * ENTRIES_PER_TABLE;
/// Updates in one hypercall.
const BATCH: usize = 128;

/// How a mapping may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Memory, for reading only.
    ReadOnly,
    /// Memory.
    ReadWrite,
    /// Device registers: not cached.
    Device,
}

impl Access {
    fn flags(self) -> PteFlags {
        match self {
            Self::ReadOnly => memory::RAM.difference(PteFlags::RW.union(PteFlags::DIRTY)),
            Self::ReadWrite => memory::RAM,
            Self::Device => memory::RAM.union(PteFlags::PCD).union(PteFlags::PWT),
        }
    }
}

/// Why frames could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapError {
    /// The first frame that was refused, by its place in the list.
    pub index: usize,
    /// The hypervisor's reason.
    pub errno: Errno,
}

static WINDOW: Mutex<Window> = Mutex::new(Window {
    l2: None,
    tables: [const { None }; TABLES],
    places: Places::new(),
});

struct Window {
    l2: Option<Mfn>,
    tables: [Option<Mfn>; TABLES],
    places: Places<{ PAGES / 64 }>,
}

impl Window {
    /// Finds `count` free pages in a row, with tables that can map them.
    fn reserve(&mut self, count: usize) -> Result<usize, Errno> {
        let Found { start, wrapped } = self.places.take(count).ok_or(Errno::ENOMEM)?;
        if wrapped {
            flush();
        }
        let mut tables = start / ENTRIES_PER_TABLE..=(start + count - 1) / ENTRIES_PER_TABLE;
        let made = tables.try_for_each(|table| self.make_table(table));
        if made.is_err() {
            self.release(start, count);
        }
        made.map(|()| start)
    }

    fn release(&mut self, start: usize, count: usize) {
        self.places.give(start, count);
    }

    /// Makes sure that the L1 table with this number exists.
    fn make_table(&mut self, number: usize) -> Result<(), Errno> {
        let l2 = match self.l2 {
            Some(l2) => l2,
            None => {
                let l3 = memory::builder_entry(memory::root(), 511).frame();
                let l2 = hook_new_table(l3, L3_SLOT)?;
                self.l2 = Some(l2);
                l2
            }
        };
        if self.tables[number].is_none() {
            self.tables[number] = Some(hook_new_table(l2, number)?);
        }
        Ok(())
    }

    /// Where the entry of a page lies.
    fn entry(&self, page: usize) -> MachAddr {
        let table = self.tables[page / ENTRIES_PER_TABLE].unwrap_or(Mfn::INVALID);
        hypercall::entry_address(table, page % ENTRIES_PER_TABLE)
    }

    /// Writes `entries` to the pages from `start` on.
    fn write(
        &self,
        start: usize,
        entries: impl ExactSizeIterator<Item = Pte>,
        owner: DomIdArg,
    ) -> Result<(), MapError> {
        let mut batch = [MmuUpdate::default(); BATCH];
        let mut filled = 0;
        let mut sent = 0;
        let total = entries.len();
        for (index, entry) in entries.enumerate() {
            batch[filled] = MmuUpdate {
                ptr: self.entry(start + index).get(),
                val: entry.get(),
            };
            filled += 1;
            if filled == BATCH || index + 1 == total {
                // SAFETY: the pages are reserved and nobody else has them; unmapping
                // happens when their one owner is dropped.
                unsafe { hypercall::mmu_update(&batch[..filled], owner.get()) }.map_err(
                    |(done, errno)| MapError {
                        index: sent + done,
                        errno,
                    },
                )?;
                sent += filled;
                filled = 0;
            }
        }
        Ok(())
    }
}

/// Makes an empty table and hooks it into `parent`.
fn hook_new_table(parent: Mfn, index: usize) -> Result<Mfn, Errno> {
    let table = memory::Page::zeroed()?.into_table()?;
    let frame = table.frame();
    let link = MmuUpdate {
        ptr: hypercall::entry_address(parent, index).get(),
        val: Pte::map(frame, memory::LINK).get(),
    };
    // SAFETY: nothing was mapped under that entry, and the new table maps nothing yet.
    unsafe { hypercall::mmu_update(&[link], DomIdArg::SELF.get()) }.map_err(|(_, e)| e)?;
    // In use from now on, for good.
    core::mem::forget(table);
    Ok(frame)
}

/// Forgets all translations on every virtual CPU.
fn flush() {
    let op = MmuextOp {
        cmd: MmuextCommand::TlbFlushAll.number(),
        ..MmuextOp::default()
    };
    // SAFETY: a flush changes no mapping. It cannot be refused.
    let _ = unsafe { hypercall::mmuext_op(&[op], DomIdArg::SELF.get()) };
}

fn address_of(page: usize) -> u64 {
    BASE + (page * PAGE_SIZE) as u64
}

/// What stands behind a mapping, and how it is undone.
#[derive(Debug)]
enum Kind {
    Frames,
    Grants(Vec<GrantHandle>),
    /// Our own, which come free when the mapping goes.
    Own(#[expect(dead_code, reason = "held, not looked at")] Vec<memory::Page>),
}

/// Frames mapped into the window, until dropped.
#[derive(Debug)]
pub struct Mapping {
    start: usize,
    count: usize,
    kind: Kind,
    bytes: SharedBytes,
}

impl Mapping {
    fn new(start: usize, count: usize, kind: Kind) -> Self {
        let base = pointer(address_of(start));
        let base = NonNull::new(base).unwrap_or(NonNull::dangling());
        // SAFETY: mapped until this is dropped; addresses in the window are used by nobody else.
        let bytes = unsafe { SharedBytes::new(base, count * PAGE_SIZE) };
        Self {
            start,
            count,
            kind,
            bytes,
        }
    }

    /// Maps `frames`, which belong to `owner`, side by side.
    ///
    /// # Errors
    ///
    /// Which frame was refused, and why; nothing is mapped then.
    pub fn foreign(owner: DomId, frames: &[Mfn], access: Access) -> Result<Self, MapError> {
        Self::frames(owner.into(), frames, access)
    }

    /// Maps `len` bytes of device memory from `start` on.
    ///
    /// The mapping begins at the page that holds `start`.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn device(start: MachAddr, len: u64) -> Result<Self, MapError> {
        Self::machine(start, len, Access::Device)
    }

    /// Maps memory of the machine that is nobody's, such as firmware tables.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn machine(start: MachAddr, len: u64, access: Access) -> Result<Self, MapError> {
        let first = start.frame().get();
        let last = MachAddr::new(start.get() + len.saturating_sub(1))
            .frame()
            .get();
        let frames: Vec<_> = (first..=last).map(Mfn::new).collect();
        Self::frames(DomIdArg::SELF, &frames, access)
    }

    fn frames(owner: DomIdArg, frames: &[Mfn], access: Access) -> Result<Self, MapError> {
        let mut window = WINDOW.lock();
        let refuse = |errno| MapError { index: 0, errno };
        let start = window.reserve(frames.len()).map_err(refuse)?;
        let entries = frames.iter().map(|&frame| Pte::map(frame, access.flags()));
        if let Err(error) = window.write(start, entries, owner) {
            let empty = (0..error.index).map(|_| Pte::EMPTY);
            // Clearing entries of our own tables cannot fail.
            let _ = window.write(start, empty, DomIdArg::SELF);
            window.release(start, frames.len());
            return Err(error);
        }
        drop(window);
        Ok(Self::new(start, frames.len(), Kind::Frames))
    }

    /// Maps pages of our own side by side, and keeps them.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the window is full.
    pub fn pages(pages: Vec<memory::Page>) -> Result<Self, Errno> {
        let frames: Vec<_> = pages.iter().map(memory::Page::frame).collect();
        let mapped = Self::frames(DomIdArg::SELF, &frames, Access::ReadWrite);
        let mut mapping = mapped.map_err(|error| error.errno)?;
        mapping.kind = Kind::Own(pages);
        Ok(mapping)
    }

    /// Maps pages that `owner` has granted to this domain, side by side.
    ///
    /// # Errors
    ///
    /// Which grant was refused, and why; nothing is mapped then.
    pub fn grants(
        owner: DomId,
        references: &[GrantRef],
        access: Access,
    ) -> Result<Self, (usize, GrantStatus)> {
        let start = WINDOW
            .lock()
            .reserve(references.len())
            .map_err(|_| (0, GrantStatus::NoDeviceSpace))?;
        let mut flags = MapFlags::HOST_MAP;
        flags.set(MapFlags::READONLY, access == Access::ReadOnly);
        let mut batch: Vec<_> = references
            .iter()
            .enumerate()
            .map(|(index, &reference)| MapGrantRef {
                host_addr: address_of(start + index),
                flags: flags.bits(),
                reference,
                dom: owner.into(),
                status: GrantStatus::GeneralError.number(),
                ..MapGrantRef::default()
            })
            .collect();
        let args = [
            u64::from(GrantTableOp::MapGrantRef.number()),
            batch.as_mut_ptr().expose_provenance() as u64,
            batch.len() as u64,
        ];
        // SAFETY: the call fills in `batch` and maps at addresses just reserved. If it
        // fails as a whole, each element keeps the failure it was filled with.
        let _ = unsafe { guest_abi::call::call(Hypercall::GrantTableOp, args) };

        let failed = batch
            .iter()
            .position(|op| op.status != GrantStatus::Okay.number());
        let handles = batch
            .iter()
            .filter(|op| op.status == GrantStatus::Okay.number())
            .map(|op| op.handle);
        let handles: Vec<_> = handles.collect();
        if let Some(index) = failed {
            let addresses = batch
                .iter()
                .filter(|op| op.status == GrantStatus::Okay.number())
                .map(|op| op.host_addr);
            unmap_grants(addresses.zip(handles.iter().copied()));
            WINDOW.lock().release(start, references.len());
            let status = GrantStatus::from_number(batch[index].status);
            return Err((index, status.unwrap_or(GrantStatus::GeneralError)));
        }
        Ok(Self::new(start, references.len(), Kind::Grants(handles)))
    }

    /// The address of the first byte.
    #[must_use]
    pub fn address(&self) -> GuestVirtAddr {
        GuestVirtAddr::new(address_of(self.start))
    }
}

impl Deref for Mapping {
    type Target = SharedBytes;

    fn deref(&self) -> &SharedBytes {
        &self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        match &self.kind {
            Kind::Frames | Kind::Own(_) => {
                let empty = (0..self.count).map(|_| Pte::EMPTY);
                // Clearing entries of our own tables cannot fail.
                let _ = WINDOW.lock().write(self.start, empty, DomIdArg::SELF);
            }
            Kind::Grants(handles) => {
                let addresses = (0..self.count).map(|index| address_of(self.start + index));
                unmap_grants(addresses.zip(handles.iter().copied()));
            }
        }
        WINDOW.lock().release(self.start, self.count);
    }
}

/// Unmaps grants by address and handle.
fn unmap_grants(mappings: impl Iterator<Item = (u64, GrantHandle)>) {
    let mut batch: Vec<_> = mappings
        .map(|(host_addr, handle)| UnmapGrantRef {
            host_addr,
            handle,
            ..UnmapGrantRef::default()
        })
        .collect();
    let args = [
        u64::from(GrantTableOp::UnmapGrantRef.number()),
        batch.as_mut_ptr().expose_provenance() as u64,
        batch.len() as u64,
    ];
    // SAFETY: the call fills in `batch` and unmaps what only the dropped mapping used.
    let _ = unsafe { guest_abi::call::call(Hypercall::GrantTableOp, args) };
}
