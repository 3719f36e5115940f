//! The window: addresses at which foreign frames and device memory appear.
//!
//! A gigabyte of address space above the linear map. Its page tables are made
//! on demand and never go away. Beside each table lies what its entries map,
//! so that devices can be told.
//!
//! ```text
//! BASE                          256 MiB                             1 GiB
//!  | frames, devices: in a circle |  grants: from the low end         |
//! ```
//!
//! Frames' places are given out in a circle, so that one is used again only
//! after a whole turn; the TLB is flushed once a turn instead of at every
//! unmapping. Grants' places are used again at once: the hypervisor itself
//! flushes when a grant is unmapped. A grant for devices alone has a place
//! there too, but no entry: the place is its name.

mod device;
mod grants;
mod mapping;

use alloc::boxed::Box;

use guest_abi::{
    Errno, MachAddr, Mfn, PAGE_SIZE,
    ids::{DomIdArg, GrantHandle},
    mmu::{ENTRIES_PER_TABLE, MmuUpdate, MmuextCommand, MmuextOp, Pte, PteFlags},
};
use heapless::Vec as ArrayVec;
use spin::Mutex;

use super::{hypercall, memory};
use crate::places::{Found, Places};

pub use device::DeviceMapping;
pub use mapping::Mapping;

/// The window's first address: slot 511 of the kernel's L3.
pub(super) const BASE: u64 = 0xffff_ffff_c000_0000;
const L3_SLOT: usize = 511;
/// L1 tables the window has room for; the last 2 MiB of addresses stay unused.
const TABLES: usize = ENTRIES_PER_TABLE - 1;
/// How many of them are for frames; the others are for grants.
const FRAME_TABLES: usize = 128;
const FRAME_PAGES: usize = FRAME_TABLES * ENTRIES_PER_TABLE;
const GRANT_PAGES: usize = (TABLES - FRAME_TABLES) * ENTRIES_PER_TABLE;
/// Requests in one hypercall.
const BATCH: usize = 64;

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
    frames: Places::new(),
    grants: Places::new(),
});

/// What a page of the window shows. Frame 0 stands for nothing.
#[derive(Clone, Copy, Default)]
struct Shown {
    frame: u32,
    handle: GrantHandle,
}

/// An L1 table of the window.
struct Table {
    frame: Mfn,
    shown: Box<[Shown; ENTRIES_PER_TABLE]>,
}

struct Window {
    l2: Option<Mfn>,
    tables: [Option<Table>; TABLES],
    frames: Places<{ FRAME_PAGES / 64 }>,
    grants: Places<{ GRANT_PAGES / 64 }>,
}

impl Window {
    /// Finds `count` free pages in a row for frames, with tables that can map them.
    fn reserve_frames(&mut self, count: usize) -> Result<usize, Errno> {
        let Found { start, wrapped } = self.frames.take(count).ok_or(Errno::ENOMEM)?;
        if wrapped {
            flush();
        }
        let made = self.make_tables(start, count);
        made.inspect_err(|_| self.release(start, count))?;
        Ok(start)
    }

    /// The same for grants.
    fn reserve_grants(&mut self, count: usize) -> Result<usize, Errno> {
        let start = self.grants.take_lowest(count).ok_or(Errno::ENOMEM)? + FRAME_PAGES;
        let made = self.make_tables(start, count);
        made.inspect_err(|_| self.release(start, count))?;
        Ok(start)
    }

    fn release(&mut self, start: usize, count: usize) {
        match start.checked_sub(FRAME_PAGES) {
            Some(start) => self.grants.give(start, count),
            None => self.frames.give(start, count),
        }
    }

    /// Makes sure that the L1 tables of these pages exist.
    fn make_tables(&mut self, start: usize, count: usize) -> Result<(), Errno> {
        let last = (start + count - 1) / ENTRIES_PER_TABLE;
        (start / ENTRIES_PER_TABLE..=last).try_for_each(|table| self.make_table(table))
    }

    fn make_table(&mut self, number: usize) -> Result<(), Errno> {
        if self.tables[number].is_some() {
            return Ok(());
        }
        let l2 = match self.l2 {
            Some(l2) => l2,
            None => {
                let l3 = memory::builder_entry(memory::root(), 511).frame();
                let l2 = hook_new_table(l3, L3_SLOT)?;
                self.l2 = Some(l2);
                l2
            }
        };
        self.tables[number] = Some(Table {
            frame: hook_new_table(l2, number)?,
            shown: Box::new([Shown::default(); ENTRIES_PER_TABLE]),
        });
        Ok(())
    }

    /// Where the entry of a page lies.
    fn entry(&self, page: usize) -> MachAddr {
        let table = self.tables[page / ENTRIES_PER_TABLE].as_ref();
        let frame = table.map_or(Mfn::INVALID, |table| table.frame);
        hypercall::entry_address(frame, page % ENTRIES_PER_TABLE)
    }

    /// What a page shows, if it was ever used.
    fn shown(&mut self, page: usize) -> Option<&mut Shown> {
        let table = self.tables.get_mut(page / ENTRIES_PER_TABLE)?.as_mut()?;
        Some(&mut table.shown[page % ENTRIES_PER_TABLE])
    }

    /// Writes `entries` to the pages from `start` on.
    fn write(
        &mut self,
        start: usize,
        entries: impl ExactSizeIterator<Item = Pte>,
        owner: DomIdArg,
    ) -> Result<(), MapError> {
        let mut batch = ArrayVec::<MmuUpdate, BATCH>::new();
        let mut sent = 0;
        let total = entries.len();
        for (index, entry) in entries.enumerate() {
            // There is room: a full batch was sent.
            let _ = batch.push(MmuUpdate {
                ptr: self.entry(start + index).get(),
                val: entry.get(),
            });
            if let Some(shown) = self.shown(start + index) {
                // What lies too high for the number is no memory, and none that devices fill.
                shown.frame = u32::try_from(entry.frame().get()).unwrap_or(0);
            }
            if batch.is_full() || index + 1 == total {
                // SAFETY: the pages are reserved and nobody else has them; unmapping
                // happens when their one owner is dropped.
                unsafe { hypercall::mmu_update(&batch, owner.get()) }.map_err(
                    |(done, errno)| MapError {
                        index: sent + done,
                        errno,
                    },
                )?;
                sent += batch.len();
                batch.clear();
            }
        }
        Ok(())
    }
}

/// The machine address behind an address of the window, to the end of that page.
pub(super) fn machine_address(address: u64) -> Option<MachAddr> {
    let offset = address % PAGE_SIZE as u64;
    let page = usize::try_from(address.checked_sub(BASE)? / PAGE_SIZE as u64).ok()?;
    let frame = WINDOW.lock().shown(page)?.frame;
    let frame = (frame != 0).then(|| Mfn::new(frame.into()))?;
    Some(MachAddr::new(frame.to_maddr().get() + offset))
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
