//! The global allocator: the core's heap over the core's frames.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use guest_abi::frame::{MachAddr, PAGE_SIZE};

use super::{direct_map, frames};
use crate::arch::heap::{Heap, Pages};
use crate::arch::layout::DIRECT_MAP_BASE;

#[global_allocator]
static HEAP: Heap<CoreFrames> = Heap::new();

static BYTES: AtomicUsize = AtomicUsize::new(0);

/// How much memory the heap has taken.
pub fn heap_bytes() -> usize {
    BYTES.load(Ordering::Relaxed)
}

/// Frames, reached through the direct map.
struct CoreFrames;

impl Pages for CoreFrames {
    fn alloc(order: u32) -> Option<NonNull<u8>> {
        let frame = frames::alloc(order)?;
        BYTES.fetch_add(PAGE_SIZE << order, Ordering::Relaxed);
        NonNull::new(direct_map::pointer(frame.to_maddr()))
    }

    unsafe fn free(pages: NonNull<u8>, order: u32) {
        let address = MachAddr::new(pages.addr().get() as u64 - DIRECT_MAP_BASE);
        BYTES.fetch_sub(PAGE_SIZE << order, Ordering::Relaxed);
        frames::free(address.frame(), order);
    }
}
