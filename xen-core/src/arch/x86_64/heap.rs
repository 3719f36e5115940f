//! The core's heap.
//!
//! Small objects live in slabs: pages of equal slots, one list of pages with free slots per size.
//! A page whose last object is freed goes back to the frame allocator at once, so the heap shrinks
//! as it grew. Anything bigger, or aligned to more than 64 bytes, gets frames of its own.
//!
//! ```text
//!   slab page:  | header, 64 bytes | slot 0 | slot 1 | …      free slots are chained by offset
//! ```

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use guest_abi::frame::{MachAddr, PAGE_SIZE};

use super::{direct_map, frames};
use crate::arch::layout::DIRECT_MAP_BASE;
use crate::sync::SpinLock;

/// Slot sizes: multiples of 16, chosen so that little of a page is left over.
const SIZES: [usize; 16] = [
    16, 32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 576, 672, 1008, 1344, 2016,
];
const HEADER: usize = 64;
const MAX_ALIGN: usize = 64;

/// At the start of each slab page.
#[repr(C)]
struct Slab {
    next: Option<NonNull<Slab>>,
    previous: Option<NonNull<Slab>>,
    /// Offset of the first free slot, 0 for none.
    free: u16,
    /// Slots in use.
    used: u16,
}

const _: () = assert!(size_of::<Slab>() <= HEADER);

/// The pages of one size that have free slots.
struct Class {
    size: usize,
    partial: Option<NonNull<Slab>>,
}

// SAFETY: the pages on the list belong to the class, whichever CPU holds its lock.
unsafe impl Send for Class {}

/// The heap.
struct Heap {
    classes: [SpinLock<Class>; SIZES.len()],
}

#[global_allocator]
static HEAP: Heap = Heap::new();

impl Heap {
    const fn new() -> Self {
        let mut classes = [const {
            SpinLock::new(Class {
                size: 0,
                partial: None,
            })
        }; SIZES.len()];
        let mut index = 0;
        while index < SIZES.len() {
            classes[index] = SpinLock::new(Class {
                size: SIZES[index],
                partial: None,
            });
            index += 1;
        }
        Self { classes }
    }

    /// The smallest class that fits; slots start at a multiple of 64, so a size that is a multiple
    /// of the alignment keeps it.
    fn class(&self, layout: Layout) -> Option<&SpinLock<Class>> {
        if layout.align() > MAX_ALIGN {
            return None;
        }
        let fits = |size: &usize| *size >= layout.size() && size.is_multiple_of(layout.align());
        SIZES
            .iter()
            .position(fits)
            .and_then(|index| self.classes.get(index))
    }
}

// SAFETY: slots and frames handed out are ours alone, big and aligned enough, until freed.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.class(layout) {
            Some(class) => class.lock().alloc(),
            None => match frames::alloc(order(layout)) {
                Some(frame) => direct_map::pointer(frame.to_maddr()),
                None => ptr::null_mut(),
            },
        }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        match self.class(layout) {
            // SAFETY: the caller's promise: `object` came from `alloc` with this layout.
            Some(class) => unsafe { class.lock().free(object) },
            None => frames::free(address(object).frame(), order(layout)),
        }
    }
}

fn order(layout: Layout) -> u32 {
    let bytes = layout.size().max(layout.align()).max(PAGE_SIZE);
    bytes.next_power_of_two().trailing_zeros() - PAGE_SIZE.trailing_zeros()
}

fn address(object: *mut u8) -> MachAddr {
    MachAddr::new(object as u64 - DIRECT_MAP_BASE)
}

impl Class {
    fn alloc(&mut self) -> *mut u8 {
        let Some(mut page) = self.partial.or_else(|| self.grow()) else {
            return ptr::null_mut();
        };
        // SAFETY: pages on the list have a valid header, which the class's lock makes ours.
        let slab = unsafe { page.as_mut() };
        let slot = page.as_ptr().cast::<u8>().wrapping_add(slab.free.into());
        // SAFETY: the offset leads to a free slot of this page, whose first bytes are the chain.
        slab.free = unsafe { slot.cast::<u16>().read() };
        slab.used += 1;
        if slab.free == 0 {
            self.unlink(page);
        }
        slot
    }

    /// # Safety
    /// `object` is a slot of this class that is in use.
    unsafe fn free(&mut self, object: *mut u8) {
        let offset = object as usize % PAGE_SIZE;
        let Some(mut page) = NonNull::new(object.wrapping_sub(offset).cast::<Slab>()) else {
            return;
        };
        // SAFETY: a slot in use lies in a slab page (the caller's promise), ours by the lock.
        let slab = unsafe { page.as_mut() };
        // SAFETY: nobody uses the slot any more, and it is at least 16 bytes.
        unsafe { object.cast::<u16>().write(slab.free) };
        let was_full = slab.free == 0;
        slab.free = u16::try_from(offset).unwrap_or(0);
        slab.used -= 1;
        let is_empty = slab.used == 0;
        if was_full && !is_empty {
            self.link(page);
        } else if is_empty {
            if !was_full {
                self.unlink(page);
            }
            frames::free(address(page.as_ptr().cast()).frame(), 0);
        }
    }

    /// A new page, all slots free, on the list.
    fn grow(&mut self) -> Option<NonNull<Slab>> {
        let start = direct_map::pointer(frames::alloc(0)?.to_maddr());
        let slots = (PAGE_SIZE - HEADER) / self.size;
        for index in 0..slots {
            let next = if index + 1 < slots {
                HEADER + (index + 1) * self.size
            } else {
                0
            };
            let slot = start.wrapping_add(HEADER + index * self.size);
            // SAFETY: the slot lies in the page just allocated, and 16 divides its offset.
            unsafe { slot.cast::<u16>().write(u16::try_from(next).unwrap_or(0)) };
        }
        let slab = Slab {
            next: None,
            previous: None,
            free: u16::try_from(HEADER).unwrap_or(0),
            used: 0,
        };
        let page = NonNull::new(start.cast::<Slab>())?;
        // SAFETY: the header lies at the start of the page just allocated.
        unsafe { page.write(slab) };
        self.link(page);
        Some(page)
    }

    fn link(&mut self, mut page: NonNull<Slab>) {
        // SAFETY: `page` is a slab of this class, ours by the lock.
        let slab = unsafe { page.as_mut() };
        slab.previous = None;
        slab.next = self.partial;
        if let Some(mut next) = self.partial {
            // SAFETY: as above.
            unsafe { next.as_mut() }.previous = Some(page);
        }
        self.partial = Some(page);
    }

    fn unlink(&mut self, mut page: NonNull<Slab>) {
        // SAFETY: `page` is a slab of this class, ours by the lock.
        let slab = unsafe { page.as_mut() };
        let (next, previous) = (slab.next.take(), slab.previous.take());
        if let Some(mut next) = next {
            // SAFETY: as above.
            unsafe { next.as_mut() }.previous = previous;
        }
        match previous {
            // SAFETY: as above.
            Some(mut previous) => unsafe { previous.as_mut() }.next = next,
            None => self.partial = next,
        }
    }
}
