//! What the page-table code asks of the machine: narrow, so that tests can play it.

use core::sync::atomic::AtomicU64;

use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;

use super::frame_table::PageInfo;
use super::page_type::Scope;
use crate::cpu::AtomicCpuMask;

/// The entries of a page table. The CPUs read them, and set bits in them, at any time.
pub type TableEntries = [AtomicU64; 512];

/// Whose page tables are being worked on, and what they may map.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The domain.
    pub id: DomId,
    /// Whether it may map device memory, with any cache attribute.
    pub devices: bool,
    /// The CPUs whose TLBs may hold its translations.
    pub cpus: &'a AtomicCpuMask,
}

/// The machine's memory and TLBs.
pub trait Machine {
    /// What is known of a frame; `None` beyond the end of memory.
    fn page(&self, mfn: Mfn) -> Option<&PageInfo>;

    /// A frame as a page table. Only for frames that are RAM.
    fn entries(&self, mfn: Mfn) -> &TableEntries;

    /// The flush clock: translations removed before now may live on in a TLB that was last
    /// flushed at or before this reading.
    fn clock(&self) -> u64;

    /// Flushes the CPUs in `scope` that were not flushed after the clock read `since`.
    fn flush(&self, owner: &Owner<'_>, scope: Scope, since: u64);

    /// Frees a frame whose last reference is gone.
    fn release(&self, mfn: Mfn, page: &PageInfo);

    /// Writes the core's own entries into a root.
    fn fill_core_slots(&self, root: &TableEntries);

    /// Whether the frame is device memory that the owner of devices may map.
    fn is_device(&self, mfn: Mfn) -> bool;
}
