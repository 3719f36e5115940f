//! The machine-to-phys table: which of its own frame numbers a guest has given to each frame.
//!
//! One word per frame, mapped read-only for guests at the start of the core's hole. The core
//! writes it through the direct map.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::frame::{MachAddr, Mfn, Pfn};

use super::paging::{self, LARGE_PAGE, LARGE_STEP, bits};
use super::{direct_map, frames};
use crate::arch::layout::M2P_BASE;

static BASE: AtomicU64 = AtomicU64::new(0);
static FRAMES: AtomicU64 = AtomicU64::new(0);

const FLAGS: u64 = bits::PRESENT | bits::USER | bits::USED | bits::GLOBAL | bits::NO_EXECUTE;

/// Makes the table for `frames` frames, all without an owner's number; false without memory.
pub(super) fn create(frames: u64) -> bool {
    let bytes = (frames * 8).next_multiple_of(LARGE_PAGE);
    let Some(base) = frames::take(bytes, LARGE_PAGE) else {
        return false;
    };
    direct_map::fill(base, bytes, Pfn::INVALID.get());
    BASE.store(base.get(), Ordering::Relaxed);
    FRAMES.store(frames, Ordering::Relaxed);
    (0..bytes)
        .step_by(LARGE_STEP)
        .all(|offset| paging::map_large(M2P_BASE + offset, base.get() + offset, FLAGS))
}

/// The frames of the table: the first, and how many.
pub fn own_frames() -> (Mfn, u64) {
    let base = MachAddr::new(BASE.load(Ordering::Relaxed));
    let bytes = (FRAMES.load(Ordering::Relaxed) * 8).next_multiple_of(LARGE_PAGE);
    (base.frame(), bytes >> 12)
}

/// The number that a guest gave to `mfn`; `None` beyond the table.
pub fn get(mfn: Mfn) -> Option<Pfn> {
    entry(mfn).map(|word| Pfn::new(word.load(Ordering::Relaxed)))
}

/// Sets the number of `mfn`; nothing happens beyond the table.
pub fn set(mfn: Mfn, pfn: Pfn) {
    if let Some(word) = entry(mfn) {
        word.store(pfn.get(), Ordering::Relaxed);
    }
}

fn entry(mfn: Mfn) -> Option<&'static AtomicU64> {
    if mfn.get() >= FRAMES.load(Ordering::Relaxed) {
        return None;
    }
    let at = BASE.load(Ordering::Relaxed) + 8 * mfn.get();
    Some(direct_map::word(MachAddr::new(at)))
}
