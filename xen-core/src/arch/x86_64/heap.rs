//! The global allocator: the core's heap over the core's frames.

use core::ptr::NonNull;

use guest_abi::frame::MachAddr;

use super::{direct_map, frames};
use crate::arch::heap::{Heap, Pages};
use crate::arch::layout::DIRECT_MAP_BASE;

#[global_allocator]
static HEAP: Heap<CoreFrames> = Heap::new();

/// How many bytes of the heap are in use.
pub fn heap_bytes() -> usize {
    HEAP.bytes()
}

/// Frames, reached through the direct map.
struct CoreFrames;

impl Pages for CoreFrames {
    fn alloc(order: u32) -> Option<NonNull<u8>> {
        let frame = frames::alloc(order)?;
        NonNull::new(direct_map::pointer(frame.to_maddr()))
    }

    unsafe fn free(pages: NonNull<u8>, order: u32) {
        let address = MachAddr::new(pages.addr().get() as u64 - DIRECT_MAP_BASE);
        frames::free(address.frame(), order);
    }
}
