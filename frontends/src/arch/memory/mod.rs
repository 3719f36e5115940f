//! The guest's memory: which frames there are, which are mapped, who has them.
//!
//! Page n of the guest lies at `VIRT_BASE + n * 4096`. The builder maps the
//! first megabytes; the rest is mapped in chunks of 2 MiB (one L1 table each)
//! when it is needed. The heap takes chunks from the low end upward, so that it
//! stays in one piece; single [`Page`]s come from below the kernel image first
//! and then from the high end downward. When the two meet, memory is full.
//!
//! ```text
//! pfn 0   0x200         free_start     boot end                        nr_pages
//!  | pages |  kernel, tables |  heap ..  |  heap -->  unmapped  <-- pages  |
//! ```

mod page;
mod reservation;

use alloc::vec::Vec;
use core::{ops::Range, ptr::NonNull};

use guest_abi::{
    Errno, MachAddr, Mfn, PAGE_SIZE, Pfn,
    ids::DomIdArg,
    mmu::{ENTRIES_PER_TABLE, MACH2PHYS_VIRT_START, MmuUpdate, Pte, PteFlags},
    start_info::StartInfo,
};
use spin::Mutex;

use super::{
    bytes::{SharedBytes, pointer},
    hypercall,
};

pub use page::{Page, TablePage};
pub(crate) use reservation::{Hole, give_back, pages_now, room_beyond, take_more};

/// The address of pfn 0.
pub const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;
/// The first pfn of the kernel image (see `guest.ld`).
const IMAGE_START: u64 = 0x200;
/// Pages that the linear map has room for: 1 GiB. More memory stays unused.
const MAX_PAGES: u64 = 1 << 18;
/// Pages that one L1 table maps.
const CHUNK: u64 = ENTRIES_PER_TABLE as u64;

/// An entry for memory: accessed and dirty are set, so that the CPU need not.
pub(crate) const RAM: PteFlags = PteFlags::PRESENT
    .union(PteFlags::RW)
    .union(PteFlags::ACCESSED)
    .union(PteFlags::DIRTY);
/// An entry for memory that serves as a page table.
const TABLE: PteFlags = PteFlags::PRESENT.union(PteFlags::ACCESSED);
/// An entry that leads to a lower table.
pub(crate) const LINK: PteFlags = RAM.union(PteFlags::USER);

static RAM_STATE: Mutex<Option<Ram>> = Mutex::new(None);

/// The guest's memory.
struct Ram {
    /// The p2m list: the frame behind each page.
    p2m: u64,
    nr_pages: u64,
    /// The kernel's root.
    root: Mfn,
    /// The table whose entries map the chunks.
    l2: Mfn,
    /// Mapped pages past the image, for the heap's first call.
    boot_heap: Range<u64>,
    /// Chunks that are not mapped yet.
    unmapped: Range<u64>,
    /// Mapped pages that were never used.
    fresh: Range<u64>,
    /// Pages that came back: each one's first word leads to the next.
    returned: Option<u64>,
    /// Pages that the domain has now.
    pages_now: u64,
    beyond: Beyond,
}

/// Pages beyond those that the domain started with.
struct Beyond {
    /// The first page.
    start: u64,
    /// The frames behind them, as far as there are any.
    p2m: Vec<u64>,
}

/// What the p2m list says where there is no frame.
const NO_FRAME: u64 = u64::MAX;

/// The address of a page in the linear map.
fn address_of(pfn: u64) -> u64 {
    VIRT_BASE + pfn * PAGE_SIZE as u64
}

/// The pfn of an address in the linear map.
fn pfn_of(address: u64) -> u64 {
    (address - VIRT_BASE) / PAGE_SIZE as u64
}

/// Reads a word of mapped memory.
///
/// # Safety
///
/// `address` is mapped and aligned, and nobody writes there meanwhile.
unsafe fn read_word(address: u64) -> u64 {
    let pointer = pointer::<u64>(address);
    // SAFETY: the caller's promise.
    unsafe { pointer.read_volatile() }
}

/// The page of ours behind a machine frame, by the hypervisor's own table.
#[must_use]
pub fn pfn_of_frame(frame: Mfn) -> Pfn {
    // SAFETY: the hypervisor maps its table readable, with an entry for each frame of the machine.
    Pfn::new(unsafe { read_word(MACH2PHYS_VIRT_START + frame.get() * 8) })
}

/// An entry of one of the builder's page tables, which it left mapped for reading.
fn read_entry(table: Mfn, index: usize) -> Pte {
    let address = address_of(pfn_of_frame(table).get()) + index as u64 * 8;
    // SAFETY: the builder's tables lie in the initial mapping.
    Pte::new(unsafe { read_word(address) })
}

/// Takes over the memory that the builder describes.
///
/// # Safety
///
/// Called once, at start of day, with the true start-info page and the
/// builder's stack pointer.
pub(super) unsafe fn init(info: &StartInfo, boot_stack: u64) {
    let tables_start = pfn_of(info.pt_base.get());
    let p2m_end = info.mfn_list.get() + info.nr_pages * 8;
    let ring_end = |frame: Mfn, port: u32| match port {
        0 => 0,
        _ => pfn_of_frame(frame).get() + 1,
    };
    let used_end = [
        tables_start + info.nr_pt_frames,
        pfn_of(core::ptr::from_ref(info).addr() as u64) + 1,
        pfn_of(boot_stack.next_multiple_of(PAGE_SIZE as u64)),
        if p2m_end > VIRT_BASE {
            pfn_of(p2m_end.next_multiple_of(PAGE_SIZE as u64))
        } else {
            0
        },
        ring_end(info.store_mfn, info.store_evtchn.get()),
        ring_end(info.console_mfn, info.console_evtchn.get()),
        if info.mod_start > VIRT_BASE {
            pfn_of((info.mod_start + info.mod_len).next_multiple_of(PAGE_SIZE as u64))
        } else {
            0
        },
    ];
    let free_start = used_end.into_iter().max().unwrap_or(IMAGE_START);

    // SAFETY: the p2m list is mapped and has an entry for each page.
    let root = Mfn::new(unsafe { read_word(info.mfn_list.get() + tables_start * 8) });
    let l2 = read_entry(read_entry(root, 511).frame(), 510).frame();
    let mapped_chunks = (0..ENTRIES_PER_TABLE).take_while(|&i| read_entry(l2, i).is_present());
    let mapped_chunks = mapped_chunks.count() as u64;
    let nr_pages = info.nr_pages.min(MAX_PAGES);

    *RAM_STATE.lock() = Some(Ram {
        p2m: info.mfn_list.get(),
        nr_pages,
        root,
        l2,
        boot_heap: free_start..(mapped_chunks * CHUNK).min(nr_pages).max(free_start),
        unmapped: mapped_chunks..nr_pages.div_ceil(CHUNK).max(mapped_chunks),
        fresh: 1..IMAGE_START,
        returned: None,
        pages_now: info.nr_pages,
        beyond: Beyond {
            start: nr_pages.next_multiple_of(CHUNK),
            p2m: Vec::new(),
        },
    });
}

impl Ram {
    /// The frame behind a page; [`NO_FRAME`] where there is none.
    fn frame(&self, pfn: u64) -> Mfn {
        if pfn < self.nr_pages {
            // SAFETY: the list has an entry for each page that the domain started with.
            return Mfn::new(unsafe { read_word(self.p2m + pfn * 8) });
        }
        let place = pfn.checked_sub(self.beyond.start);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let frame = place.and_then(|place| self.beyond.p2m.get(place));
        Mfn::new(frame.copied().unwrap_or(NO_FRAME))
    }

    /// Takes a mapped page that is there already.
    fn take_mapped(&mut self) -> Option<u64> {
        let Some(pfn) = self.returned else {
            return self.fresh.next();
        };
        // SAFETY: pages in the list are mapped and belong to nobody; `give` wrote the link.
        self.returned = match unsafe { read_word(address_of(pfn)) } {
            0 => None,
            next => Some(next),
        };
        Some(pfn)
    }

    /// Takes a page; maps another chunk of them before the last one goes.
    ///
    /// The last one must stay, because mapping a chunk takes one.
    fn take(&mut self) -> Option<u64> {
        if self.returned.is_none() && self.fresh.end - self.fresh.start <= 1 {
            let chunk = self.unmapped.next_back()?;
            self.fresh = match self.map_chunk(chunk) {
                Ok(pages) => pages,
                Err(_) => return None,
            };
        }
        self.take_mapped()
    }

    /// Puts a page back.
    fn give(&mut self, pfn: u64) {
        let link = pointer::<u64>(address_of(pfn));
        // SAFETY: the page is mapped, and its owner has just given it up.
        unsafe { link.write(self.returned.unwrap_or(0)) };
        self.returned = Some(pfn);
    }

    /// Maps one chunk; answers its pages.
    fn map_chunk(&mut self, chunk: u64) -> Result<Range<u64>, Errno> {
        let table = self.take_mapped().ok_or(Errno::ENOMEM)?;
        let pages = chunk * CHUNK..((chunk + 1) * CHUNK).min(self.nr_pages);
        for (index, pfn) in (chunk * CHUNK..(chunk + 1) * CHUNK).enumerate() {
            let frame = self.frame(pfn);
            let entry = match frame.get() {
                NO_FRAME => Pte::EMPTY,
                _ => Pte::map(frame, RAM),
            };
            let slot = address_of(table) + index as u64 * 8;
            let slot = pointer::<u64>(slot);
            // SAFETY: the page was just taken, so it is ours alone.
            unsafe { slot.write(entry.get()) };
        }
        let frame = self.frame(table);
        set_read_only(table, frame)?;
        let index = usize::try_from(chunk).map_err(|_| Errno::EINVAL)?;
        let link = MmuUpdate {
            ptr: hypercall::entry_address(self.l2, index).get(),
            val: Pte::map(frame, LINK).get(),
        };
        // SAFETY: the chunk's addresses were unmapped, so nothing relied on them.
        unsafe { hypercall::mmu_update(&[link], DomIdArg::SELF.get()) }.map_err(|(_, e)| e)?;
        Ok(pages)
    }
}

/// Makes a page's place in the linear map read-only, as a page table's must be.
fn set_read_only(pfn: u64, frame: Mfn) -> Result<(), Errno> {
    // SAFETY: the same frame stays mapped there; callers own the page and no longer write to it.
    unsafe { hypercall::update_va_mapping(address_of(pfn), Pte::map(frame, TABLE)) }
}

/// Makes a page's place in the linear map writable again.
fn set_writable(pfn: u64, frame: Mfn) -> Result<(), Errno> {
    // SAFETY: the same frame stays mapped there.
    unsafe { hypercall::update_va_mapping(address_of(pfn), Pte::map(frame, RAM)) }
}

/// Maps more memory for the heap, at least `bytes` of it; answers the addresses.
///
/// Each answer starts where the one before ended.
#[cfg(target_os = "none")]
pub(super) fn grow_heap(bytes: u64) -> Option<Range<u64>> {
    let mut guard = RAM_STATE.lock();
    let ram = guard.as_mut()?;
    let mut grown = core::mem::replace(&mut ram.boot_heap, 0..0);
    if grown.is_empty() {
        let start = ram.unmapped.start * CHUNK;
        grown = start..start;
    }
    while (grown.end - grown.start) * (PAGE_SIZE as u64) < bytes {
        // A page for the table must be there; putting it back keeps it at hand.
        let page = ram.take()?;
        ram.give(page);
        let chunk = ram.unmapped.next()?;
        grown.end = ram.map_chunk(chunk).ok()?.end;
    }
    Some(address_of(grown.start)..address_of(grown.end))
}

/// The machine address behind an address of the linear map or of the window: for devices, which
/// know no other.
///
/// It holds to the end of that page; the next page may lie anywhere.
#[must_use]
pub fn machine_address(address: u64) -> Option<MachAddr> {
    if address >= super::window::BASE {
        return super::window::machine_address(address);
    }
    let offset = address % PAGE_SIZE as u64;
    let pfn = address.checked_sub(VIRT_BASE)? / PAGE_SIZE as u64;
    let frame = RAM_STATE.lock().as_ref()?.frame(pfn);
    (frame.get() != NO_FRAME).then(|| MachAddr::new(frame.to_maddr().get() + offset))
}

/// The kernel's root page table.
pub(crate) fn root() -> Mfn {
    RAM_STATE
        .lock()
        .as_ref()
        .map_or(Mfn::INVALID, |ram| ram.root)
}

/// An entry of one of the builder's tables: for the window, which hooks into them.
pub(crate) fn builder_entry(table: Mfn, index: usize) -> Pte {
    read_entry(table, index)
}

/// A ring page, which the builder made and mapped, by its frame in the start info.
pub(crate) fn ring_page(frame: Mfn) -> SharedBytes {
    let address = address_of(pfn_of_frame(frame).get());
    let base = pointer(address);
    let base = NonNull::new(base).unwrap_or(NonNull::dangling());
    // SAFETY: mapped for good by the builder, kept out of the allocators by
    // `init`, and only ever accessed as shared memory.
    unsafe { SharedBytes::new(base, PAGE_SIZE) }
}
