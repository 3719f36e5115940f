//! The guest's LDT: replaced as a whole, its pages checked before they come here.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::frame::{GuestVirtAddr, Mfn};
use guest_abi::mmu::Pte;
use heapless::Vec;

use super::context::{LDT_FRAMES, Ldt};
use super::descriptor;
use crate::arch::windows;
use crate::domain::Vcpu;

/// Frames of a descriptor table.
pub type Frames = Vec<Mfn, LDT_FRAMES>;

/// Makes `frames` the LDT of the vCPU that runs here; answers with those it had before. Each is
/// held as a descriptor page by being there.
pub fn replace(vcpu: &Vcpu, base: GuestVirtAddr, entries: u32, frames: &Frames) -> Frames {
    let mut new = Ldt {
        base: base.get(),
        entries,
        ..Ldt::default()
    };
    for (slot, mfn) in new.frames.iter_mut().zip(frames) {
        *slot = Some(*mfn);
    }
    let old = core::mem::replace(&mut vcpu.context.lock().ldt, new);
    windows::load_ldt(&new.frames, entries);
    old.frames.into_iter().flatten().collect()
}

/// Checks a page that is to hold descriptors, and stores each as a guest may have it.
///
/// # Errors
/// The first descriptor that no guest may have.
pub fn check_page(entries: &[AtomicU64; 512]) -> Result<(), Pte> {
    for slot in entries {
        let raw = slot.load(Ordering::Relaxed);
        let stored = descriptor::check(raw).ok_or(Pte::new(raw))?;
        if stored != raw {
            slot.store(stored, Ordering::Relaxed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_page;
    use core::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn one_gate_spoils_the_page() {
        let page: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];
        page[3].store(0x00cf_9300_0000_ffff, Ordering::Relaxed);
        assert!(check_page(&page).is_ok());
        assert_eq!(page[3].load(Ordering::Relaxed), 0x00cf_f300_0000_ffff);
        page[511].store(0x0000_8c00_0000_0000, Ordering::Relaxed);
        assert!(check_page(&page).is_err());
    }
}
