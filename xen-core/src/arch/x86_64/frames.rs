//! Frames for the core itself: page tables, stacks, the heap.
//!
//! Before the frame allocator runs they come out of the start-up memory map, from below 4 GiB
//! (which is what the loader's page tables reach). [`hand_over`] ends that time.

use guest_abi::frame::{MachAddr, Mfn, PAGE_SIZE};
use zerocopy::FromZeros;

use super::direct_map;
use crate::boot::memory_map::{FreeRange, MAX_REGIONS, MemoryMap};
use crate::sync::SpinLock;

/// What the loader's tables reach.
const EARLY_LIMIT: u64 = 4 << 30;

static EARLY: SpinLock<Option<MemoryMap>> = SpinLock::new(None);

/// Starts with what is free.
pub(super) fn begin(map: MemoryMap) {
    *EARLY.lock() = Some(map);
}

/// Takes `bytes` of memory aligned to `align` for good, before the hand-over. Not zeroed; anywhere
/// in RAM, so only for use under the core's own page tables.
pub(super) fn take(bytes: u64, align: u64) -> Option<MachAddr> {
    EARLY
        .lock()
        .as_mut()?
        .take(bytes, align, u64::MAX)
        .map(MachAddr::new)
}

/// Memory of zeros for a table of `len` entries that the core keeps for good, before the hand-over.
pub fn zeroed_table<T: FromZeros + Sync>(len: usize) -> Option<&'static [T]> {
    let bytes = len.checked_mul(size_of::<T>())?.next_multiple_of(PAGE_SIZE);
    let at = take(bytes as u64, PAGE_SIZE as u64)?;
    direct_map::fill(at, bytes as u64, 0);
    // SAFETY: the memory is ours for good, aligned to a page, zeroed, and zeros are a valid `T`.
    Some(unsafe { core::slice::from_raw_parts(direct_map::pointer(at).cast::<T>(), len) })
}

/// Ends the early time: what is still free.
pub fn hand_over() -> heapless::Vec<FreeRange, MAX_REGIONS> {
    let map = EARLY.lock().take().unwrap_or_default();
    map.free().iter().copied().collect()
}

/// 2^`order` contiguous frames, aligned to their size, contents undefined.
pub fn alloc(order: u32) -> Option<Mfn> {
    let bytes = (PAGE_SIZE as u64) << order;
    if let Some(map) = EARLY.lock().as_mut() {
        return map
            .take(bytes, bytes, EARLY_LIMIT)
            .map(|at| MachAddr::new(at).frame());
    }
    crate::mm::alloc_core_frames(order)
}

/// A frame full of zeros.
pub fn alloc_zeroed() -> Option<Mfn> {
    let frame = alloc(0)?;
    direct_map::zero_frame(frame);
    Some(frame)
}

/// Gives back what [`alloc()`] gave. What goes back before the hand-over is lost.
pub fn free(first: Mfn, order: u32) {
    if EARLY.lock().is_none() {
        crate::mm::free_core_frames(first, order);
    }
}
