//! The page tables a guest starts on: the plan's, with machine frames put in.

use guest_abi::PAGE_SIZE;
use guest_abi::layout::Layout;
use guest_abi::mmu::Pte;

use super::BuildError;
use super::memory::{GuestMemory, address};

/// Writes every table of the plan.
pub(super) async fn write(memory: &GuestMemory<'_>, layout: &Layout) -> Result<(), BuildError> {
    for table in layout.tables() {
        let mut page = [0; PAGE_SIZE];
        for entry in table.entries() {
            let pte = Pte::map(memory.frame(entry.target)?, entry.flags);
            let slot = page
                .get_mut(entry.index * 8..)
                .and_then(|rest| rest.first_chunk_mut());
            if let Some(slot) = slot {
                *slot = pte.get().to_le_bytes();
            }
        }
        memory.write(address(table.pfn), &page).await?;
    }
    Ok(())
}
