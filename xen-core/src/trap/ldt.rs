//! A vCPU's local descriptor table, and the check of whole descriptor pages.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::frame::{GuestVirtAddr, Mfn};
use guest_abi::mmu::Pte;
use heapless::Vec;

use super::descriptor;
use crate::arch;
use crate::domain::VcpuRef;
use crate::mm::{self, access, pagetable::Budget};

/// The most frames: 8192 descriptors.
pub const MAX_FRAMES: usize = 16;

/// Frames of an LDT, in order.
pub type Frames = Vec<Mfn, MAX_FRAMES>;

/// A guest's LDT.
#[derive(Clone, Debug, Default)]
pub struct Ldt {
    /// The frames, each held as a descriptor page by being here.
    pub frames: Frames,
    /// Where the guest sees it.
    pub base: GuestVirtAddr,
    /// How many entries; 0: there is none.
    pub entries: u32,
}

/// Makes `frames`, which the caller holds as descriptor pages, the LDT of the calling vCPU.
/// Returns the frames of the old one, for the caller to give back.
#[must_use]
pub fn replace(vcpu: &VcpuRef, base: GuestVirtAddr, entries: u32, frames: &Frames) -> Frames {
    let new = Ldt {
        frames: frames.clone(),
        base,
        entries,
    };
    let mut context = vcpu.context.lock();
    let old = core::mem::replace(&mut context.ldt, new);
    arch::context::show_ldt(&context);
    old.frames
}

/// Gives the frames of a vCPU that runs no more back.
pub fn release(vcpu: &VcpuRef) {
    let old = core::mem::take(&mut vcpu.context.lock().ldt);
    let mut budget = Budget::new(access::CALL_BUDGET);
    mm::with_space(vcpu.domain(), &mut budget, |space| {
        for mfn in old.frames {
            space.put_descriptors(mfn);
        }
    });
}

/// Checks a page that is to become a descriptor page, and stores what each descriptor may be. No
/// guest can write the page any more when this runs.
///
/// # Errors
/// The first descriptor that no guest may have.
pub fn check_page(entries: &[AtomicU64; 512]) -> Result<(), Pte> {
    for entry in entries {
        let raw = entry.load(Ordering::Relaxed);
        let checked = descriptor::check(raw).ok_or(Pte::new(raw))?;
        if checked != raw {
            entry.store(checked, Ordering::Release);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Box<[AtomicU64; 512]> {
        Box::new([const { AtomicU64::new(0) }; 512])
    }

    #[test]
    fn a_page_of_flat_segments_is_stored_with_dpl_3() {
        let page = page();
        page[2].store(0x00af_9b00_0000_ffff, Ordering::Relaxed);
        assert_eq!(check_page(&page), Ok(()));
        assert_eq!(page[2].load(Ordering::Relaxed), 0x00af_fb00_0000_ffff);
    }

    #[test]
    fn one_task_segment_spoils_the_page() {
        let page = page();
        page[511].store(0x0000_8900_0000_0067, Ordering::Relaxed);
        assert_eq!(check_page(&page), Err(Pte::new(0x0000_8900_0000_0067)));
    }
}
