//! Machine memory: frames, what they are used as, page tables, and what each domain was promised.

pub mod frame_alloc;
pub mod frame_table;
pub mod machine;
pub mod page_type;
pub mod pagetable;
use guest_abi::{errno::Errno, frame::Mfn, ids::DomId};
/// A domain's frames and limits.
#[derive(Debug)]
pub struct DomainMemory {}
impl DomainMemory {
    /// No frames.
    pub fn new(_owner: DomId) -> Self {
        Self {}
    }
}
/// A zeroed core page owned by `owner`, mappable by it.
pub fn alloc_xenheap_page(_owner: DomId) -> Result<Mfn, Errno> {
    Err(Errno::ENOMEM)
}
/// 2^`order` contiguous frames for the core itself.
pub fn alloc_core_frames(_order: u32) -> Option<Mfn> {
    None
}
/// Gives frames of the core back.
pub fn free_core_frames(_first: Mfn, _order: u32) {}
