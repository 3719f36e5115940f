//! The core's heap.
//!
//! Small objects live in slabs: pages of equal slots, one list of pages with free slots per size.
//! A page whose last object is freed goes back to where it came from at once, so the heap shrinks
//! as it grew. Anything bigger, or aligned to more than 64 bytes, gets pages of its own.
//!
//! ```text
//!   slab page:  | header, 64 bytes | slot 0 | slot 1 | …      free slots are chained by offset
//! ```

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use guest_abi::frame::PAGE_SIZE;

use crate::sync::SpinLock;

/// Slot sizes: multiples of 16, chosen so that little of a page is left over.
const SIZES: [usize; 16] = [
    16, 32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 576, 672, 1008, 1344, 2016,
];
const HEADER: usize = 64;
const MAX_ALIGN: usize = 64;

/// Where the heap gets its pages.
pub trait Pages {
    /// 2^`order` contiguous pages, aligned to their size, all the caller's; `None` for want of
    /// memory.
    fn alloc(order: u32) -> Option<NonNull<u8>>;

    /// Takes them back.
    ///
    /// # Safety
    /// They came from [`Pages::alloc`] with this order, and nobody uses them any more.
    unsafe fn free(pages: NonNull<u8>, order: u32);
}

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
    /// Slots in use, on all its pages.
    used: usize,
    partial: Option<NonNull<Slab>>,
}

// SAFETY: the pages on the list belong to the class, whichever CPU holds its lock.
unsafe impl Send for Class {}

/// A heap on top of `P`.
pub struct Heap<P> {
    classes: [SpinLock<Class>; SIZES.len()],
    /// Bytes in objects that have pages of their own.
    large: AtomicUsize,
    pages: core::marker::PhantomData<fn() -> P>,
}

impl<P> fmt::Debug for Heap<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heap")
    }
}

impl<P> Default for Heap<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> Heap<P> {
    /// An empty heap.
    pub const fn new() -> Self {
        let mut classes = [const { Class::new(0) }; SIZES.len()];
        let mut index = 0;
        while index < SIZES.len() {
            classes[index] = Class::new(SIZES[index]);
            index += 1;
        }
        Self {
            classes,
            large: AtomicUsize::new(0),
            pages: core::marker::PhantomData,
        }
    }

    /// How many bytes are in use, exactly: an object that leaks shows, be it ever so small.
    pub fn bytes(&self) -> usize {
        let small = self.classes.iter().map(|class| {
            let class = class.lock();
            class.size * class.used
        });
        small.sum::<usize>() + self.large.load(Ordering::Relaxed)
    }

    /// The smallest class that fits. Slots start at a multiple of 64, so a size that is a multiple
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

// SAFETY: slots and pages handed out are the caller's alone, big and aligned enough, until freed.
unsafe impl<P: Pages> GlobalAlloc for Heap<P> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.class(layout) {
            Some(class) => class.lock().alloc::<P>(),
            None => P::alloc(order(layout)).map_or(ptr::null_mut(), |pages| {
                let bytes = PAGE_SIZE << order(layout);
                self.large.fetch_add(bytes, Ordering::Relaxed);
                pages.as_ptr()
            }),
        }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        let Some(object) = NonNull::new(object) else {
            return;
        };
        match self.class(layout) {
            // SAFETY: the caller's promise: `object` came from `alloc` with this layout.
            Some(class) => unsafe { class.lock().free::<P>(object) },
            None => {
                let bytes = PAGE_SIZE << order(layout);
                self.large.fetch_sub(bytes, Ordering::Relaxed);
                // SAFETY: likewise, and then it came from `P` with this order.
                unsafe { P::free(object, order(layout)) }
            }
        }
    }
}

fn order(layout: Layout) -> u32 {
    let bytes = layout.size().max(layout.align()).max(PAGE_SIZE);
    bytes.next_power_of_two().trailing_zeros() - PAGE_SIZE.trailing_zeros()
}

impl Class {
    const fn new(size: usize) -> SpinLock<Self> {
        SpinLock::new(Self {
            size,
            used: 0,
            partial: None,
        })
    }

    fn alloc<P: Pages>(&mut self) -> *mut u8 {
        let Some(mut page) = self.partial.or_else(|| self.grow::<P>()) else {
            return ptr::null_mut();
        };
        // SAFETY: pages on the list have a valid header, which the class's lock makes ours.
        let slab = unsafe { page.as_mut() };
        let slot = page.as_ptr().cast::<u8>().wrapping_add(slab.free.into());
        // SAFETY: the offset leads to a free slot of this page, whose first bytes are the chain.
        slab.free = unsafe { slot.cast::<u16>().read() };
        slab.used += 1;
        self.used += 1;
        if slab.free == 0 {
            self.unlink(page);
        }
        slot
    }

    /// # Safety
    /// `object` is a slot of this class that is in use.
    unsafe fn free<P: Pages>(&mut self, object: NonNull<u8>) {
        let offset = object.addr().get() % PAGE_SIZE;
        // SAFETY: the slot lies in a page whose start it is that many bytes behind.
        let start = unsafe { object.sub(offset) };
        let mut page = start.cast::<Slab>();
        // SAFETY: a slot in use lies in a slab page (the caller's promise), ours by the lock.
        let slab = unsafe { page.as_mut() };
        // SAFETY: nobody uses the slot any more, and it is at least 16 bytes.
        unsafe { object.cast::<u16>().write(slab.free) };
        let was_full = slab.free == 0;
        slab.free = u16::try_from(offset).unwrap_or(0);
        slab.used -= 1;
        self.used -= 1;
        match (was_full, slab.used == 0) {
            (true, false) => return self.link(page),
            (false, true) => self.unlink(page),
            (true, true) => {}
            (false, false) => return,
        }
        // SAFETY: the page came from `P` and its last slot was just freed.
        unsafe { P::free(start, 0) };
    }

    /// A new page, all slots free, on the list.
    fn grow<P: Pages>(&mut self) -> Option<NonNull<Slab>> {
        let start = P::alloc(0)?;
        let slots = (PAGE_SIZE - HEADER) / self.size;
        for index in 0..slots {
            let slot = HEADER + index * self.size;
            let next = if index + 1 < slots {
                slot + self.size
            } else {
                0
            };
            // SAFETY: the slot lies in the page just allocated.
            let slot = unsafe { start.add(slot) };
            // SAFETY: the same; 16 divides the slot's offset.
            unsafe { slot.cast::<u16>().write(u16::try_from(next).unwrap_or(0)) };
        }
        let page = start.cast::<Slab>();
        let free = u16::try_from(HEADER).unwrap_or(0);
        // SAFETY: the header lies at the start of the page just allocated.
        unsafe {
            page.write(Slab {
                next: None,
                previous: None,
                free,
                used: 0,
            })
        };
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

#[cfg(test)]
#[path = "heap_tests.rs"]
mod tests;
