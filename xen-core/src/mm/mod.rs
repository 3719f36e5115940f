//! Machine memory: frames, what they are used as, page tables, and what each domain was promised.
//!
//! - [`frame_table`]: who owns a frame and how many refer to it; [`page_type`]: what it serves as;
//! - [`pagetable`]: what a guest's tables may contain, and the references that they hold;
//! - [`frame_alloc`] and [`heap`]: free frames; [`reservation`]: those of a domain;
//! - [`access`], [`roots`], [`mod@relinquish`]: the ways in for the rest of the core.
//!
//! Everything that decides knows the hardware only as a [`machine::Machine`].
//!
//! Locks, in the order in which they are taken: a domain's tables, a domain's account, the free
//! frames. Never two domains' tables at a time.

pub mod access;
pub mod device_memory;
#[cfg(test)]
mod domain_tests;
pub mod frame_alloc;
pub mod frame_table;
pub mod hardware;
pub mod heap;
pub mod machine;
pub mod page_type;
pub mod pagetable;
pub mod relinquish;
pub mod reservation;
pub mod roots;

pub use access::{FrameUse, HeldFrame, Hold, frame_use, hold, let_go, with_space};
pub use heap::{
    Totals, alloc_core_frames, alloc_xenheap_page, free_core_frames, free_xenheap_page, is_short,
    totals,
};
pub use relinquish::relinquish;
pub use reservation::{DomainMemory, Place};
pub use roots::{Which, install_root, set_root};

use guest_abi::errno::Errno;
use guest_abi::frame::{Mfn, Pfn};

use crate::boot::dom0::BuildingDom0;
use crate::domain::Domain;

/// Gives `domain` 2^order contiguous zeroed frames as its pages from `pfn` on.
///
/// # Errors
/// `ENOMEM` beyond its maximum or when there are none.
pub fn give_frames(domain: &Domain, order: u8, pfn: Pfn) -> Result<Mfn, Errno> {
    domain.memory.give(order, pfn, Place::Anywhere)
}

/// As [`give_frames`], but the frames hold what they happen to hold.
///
/// For the start of the machine alone: nobody has used the memory since power-on, dom0 is trusted
/// with all of it anyway, and zeroing it would take most of the time until dom0 runs. Who calls
/// this zeroes what the domain may rely on.
///
/// # Errors
/// As for [`give_frames`].
pub fn give_frames_as_they_are(
    domain: &Domain,
    order: u8,
    pfn: Pfn,
    _: &BuildingDom0,
) -> Result<Mfn, Errno> {
    domain.memory.give_as_they_are(order, pfn)
}
