//! The machine's free frames, behind their lock, and the frame table that records them.
//!
//! The rule: a frame that leaves this module is in no TLB any more, whoever had it before.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::errno::Errno;
use guest_abi::frame::{Mfn, PAGE_SHIFT};
use guest_abi::ids::DomId;

use super::frame_alloc::{FrameAllocator, MAX_ORDER, Taken};
use super::frame_table::{FreeBlocks, PageInfo};
use crate::arch::{direct_map, tlb};
use crate::cpu::CpuMask;
use crate::sync::{Once, SpinLock};

/// Frames that neither domains nor what grows on their behalf get: the core needs memory for a
/// timer or a place in a queue at moments when it cannot say no.
const RESERVE: u64 = 512;

static TABLE: Once<&'static [PageInfo]> = Once::new();
static FREE: SpinLock<FrameAllocator> = SpinLock::new(FrameAllocator::new());
static TOTAL: AtomicU64 = AtomicU64::new(0);

/// How much memory there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Frames of RAM.
    pub total: u64,
    /// Frames that nobody has.
    pub free: u64,
    /// Frames in the frame table: one more than the highest number.
    pub frames: u64,
}

/// Takes over: `table` has a zeroed entry for each frame, `free` lists ranges of machine
/// addresses, `total` is the number of frames of RAM. Once, at start-up.
pub fn start(
    table: &'static [PageInfo],
    free: impl IntoIterator<Item = core::ops::Range<u64>>,
    total: u64,
) {
    TABLE.call_once(|| table);
    TOTAL.store(total, Ordering::Relaxed);
    let mut allocator = FREE.lock();
    let end = u64::try_from(table.len()).unwrap_or(0);
    for range in free {
        let from = (range.start >> PAGE_SHIFT).min(end);
        let to = (range.end >> PAGE_SHIFT).min(end);
        if let (Ok(from), Ok(to)) = (u32::try_from(from), u32::try_from(to)) {
            allocator.insert_range(&mut FreeBlocks(table), from, to);
        }
    }
}

/// A few megabytes that the tests of all modules share. Each uses domains of its own.
#[cfg(test)]
pub(crate) fn start_fake() {
    const FRAMES: u64 = 4096;
    static STARTED: std::sync::Once = std::sync::Once::new();
    STARTED.call_once(|| {
        let table: Vec<_> = (0..FRAMES).map(|_| PageInfo::default()).collect();
        let free = 0x1000..FRAMES << PAGE_SHIFT;
        start(table.leak(), core::iter::once(free), FRAMES);
    });
}

fn table() -> &'static [PageInfo] {
    TABLE.get().copied().unwrap_or(&[])
}

/// What is known of a frame.
#[inline]
pub fn page(mfn: Mfn) -> Option<&'static PageInfo> {
    table().get(usize::try_from(mfn.get()).ok()?)
}

/// All frames with what is known of them.
pub fn all_pages() -> impl Iterator<Item = (Mfn, &'static PageInfo)> {
    (0..).map(Mfn::new).zip(table())
}

/// How much memory there is, and how much of it is free.
pub fn totals() -> Totals {
    Totals {
        total: TOTAL.load(Ordering::Relaxed),
        free: FREE.lock().free_frames(),
        frames: u64::try_from(table().len()).unwrap_or(0),
    }
}

/// Takes 2^order frames, contents as they were.
fn take(order: u8) -> Option<Mfn> {
    let taken = FREE.lock().alloc(&mut FreeBlocks(table()), order);
    taken.map(flushed)
}

/// Takes 2^order frames for a domain; with a `limit`, below that frame. The reserve stays.
pub(super) fn take_for_domain(order: u8, limit: Option<u64>) -> Option<Mfn> {
    let mut free = FREE.lock();
    if !leaves_reserve(free.free_frames(), order) {
        return None;
    }
    let mut blocks = FreeBlocks(table());
    let taken = match limit {
        None => free.alloc(&mut blocks, order),
        Some(limit) => free.alloc_below(&mut blocks, order, limit),
    };
    drop(free);
    taken.map(flushed)
}

fn leaves_reserve(free: u64, order: u8) -> bool {
    1u64.checked_shl(order.into())
        .and_then(|count| free.checked_sub(count))
        .is_some_and(|rest| rest >= RESERVE)
}

/// Whether memory is so short that nothing may grow for a guest's sake.
pub fn is_short() -> bool {
    // Before start-up there is nothing to be short of.
    TABLE.get().is_some() && !leaves_reserve(FREE.lock().free_frames(), 0)
}

/// Its last owner's CPUs may still have it in their TLBs: no longer.
fn flushed(taken: Taken) -> Mfn {
    if taken.stamp != 0 {
        let stale = tlb::need_flush(CpuMask::ALL, taken.stamp);
        if !stale.is_empty() {
            tlb::flush_mask(stale);
        }
    }
    Mfn::new(u64::from(taken.frame))
}

/// Gives 2^order frames back, which nobody uses from now on.
pub(super) fn give(mfn: Mfn, order: u8) {
    let Ok(frame) = u32::try_from(mfn.get()) else {
        return;
    };
    let now = tlb::now();
    FREE.lock()
        .free(&mut FreeBlocks(table()), frame, order, now);
}

/// 2^order contiguous frames for the core itself, contents as they were.
pub fn alloc_core_frames(order: u32) -> Option<Mfn> {
    let order = u8::try_from(order).ok().filter(|&o| o <= MAX_ORDER)?;
    take(order)
}

/// Gives back what [`alloc_core_frames`] gave.
pub fn free_core_frames(first: Mfn, order: u32) {
    if let Ok(order) = u8::try_from(order) {
        give(first, order);
    }
}

/// A zeroed page of the core's that `owner` may map: it has the owner's number, but does not
/// count as the owner's memory. [`free_xenheap_page`] ends it.
///
/// # Errors
/// `ENOMEM`.
pub fn alloc_xenheap_page(owner: DomId) -> Result<Mfn, Errno> {
    if is_short() {
        return Err(Errno::ENOMEM);
    }
    let mfn = take(0).ok_or(Errno::ENOMEM)?;
    let info = page(mfn).ok_or(Errno::ENOMEM)?;
    direct_map::zero_frame(mfn);
    info.assign(owner, true);
    Ok(mfn)
}

/// Gives up what [`alloc_xenheap_page`] gave. It is freed when nobody maps it any more.
pub fn free_xenheap_page(mfn: Mfn) {
    let Some(info) = page(mfn) else {
        return;
    };
    let refs = info.refs();
    if refs.lent && info.give_up(refs.owner).is_ok() && info.put() {
        info.reclaim();
        give(mfn, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{RESERVE, leaves_reserve};

    #[test]
    fn the_cores_reserve_is_not_given_to_domains() {
        assert!(leaves_reserve(RESERVE + 1, 0));
        assert!(!leaves_reserve(RESERVE, 0));
        assert!(leaves_reserve(RESERVE + 512, 9));
        assert!(!leaves_reserve(RESERVE + 511, 9));
        assert!(!leaves_reserve(u64::MAX, 64));
    }
}
