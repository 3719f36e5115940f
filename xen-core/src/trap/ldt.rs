//! A vCPU's local descriptor table, and the check of whole descriptor pages.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::PAGE_SIZE;
use guest_abi::errno::Errno;
use guest_abi::frame::{GuestVirtAddr, Mfn};
use guest_abi::mmu::Pte;
use heapless::Vec;

use super::descriptor;
use crate::arch;
use crate::domain::{Domain, VcpuRef};
use crate::mm::{self, access, pagetable::Budget};

/// The most entries.
pub const MAX_ENTRIES: u32 = 8192;
/// The most frames.
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

/// Makes the pages at `base` of the kernel's address space the LDT of a vCPU that is not running
/// and has a root.
///
/// # Errors
/// When one of the pages is not there, or cannot serve as a descriptor page.
pub fn install(vcpu: &VcpuRef, base: GuestVirtAddr, entries: u64) -> Result<(), Errno> {
    let entries = u32::try_from(entries).map_err(|_| Errno::EINVAL)?;
    if entries > MAX_ENTRIES || base.page_offset() != 0 {
        return Err(Errno::EINVAL);
    }
    let domain = vcpu.domain();
    let mut frames = Frames::new();
    let bytes = u64::from(entries) * 8;
    let taken = (0..bytes).step_by(PAGE_SIZE).try_for_each(|offset| {
        let page = base.checked_add(offset).ok_or(Errno::EINVAL)?;
        let mfn = take_page(vcpu, page)?;
        frames.push(mfn).map_err(|_| Errno::EINVAL)
    });
    if let Err(errno) = taken {
        put_all(domain, &frames);
        return Err(errno);
    }
    let new = Ldt {
        frames,
        base,
        entries,
    };
    let old = {
        let mut context = vcpu.context.lock();
        context.generation += 1;
        core::mem::replace(&mut context.ldt, new)
    };
    put_all(domain, &old.frames);
    Ok(())
}

/// Takes hold of the page at `va` as a descriptor page.
fn take_page(vcpu: &VcpuRef, va: GuestVirtAddr) -> Result<Mfn, Errno> {
    let root = vcpu.entry.kernel_root().frame();
    let mut budget = Budget::new(access::CALL_BUDGET);
    mm::with_space(vcpu.domain(), &mut budget, |space| {
        let slot = space.find_leaf(root, va).ok_or(Errno::EFAULT)?;
        let pte = space
            .read(slot)
            .filter(|pte| pte.is_present())
            .ok_or(Errno::EFAULT)?;
        let mfn = pte.frame();
        let taken = space.get_descriptors(mfn, check_page);
        taken.map_err(|r| access::refused(vcpu.domain(), format_args!("LDT page {mfn}"), r))?;
        Ok(mfn)
    })
}

fn put_all(domain: &Domain, frames: &[Mfn]) {
    let mut budget = Budget::new(access::CALL_BUDGET);
    mm::with_space(domain, &mut budget, |space| {
        for mfn in frames {
            space.put_descriptors(*mfn);
        }
    });
}

/// Gives the frames of a vCPU that runs no more back.
pub fn release(vcpu: &VcpuRef) {
    let old = core::mem::take(&mut vcpu.context.lock().ldt);
    put_all(vcpu.domain(), &old.frames);
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
