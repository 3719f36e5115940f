//! A vCPU's global descriptor table: the frames that the guest lends for it.
//!
//! The frames are typed as descriptor pages, which no guest can write, and shown at the start of
//! the CPU's own table while the vCPU is loaded. The core's descriptors lie behind them.

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::trap::{FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE};
use heapless::Vec;

use super::ldt::check_page;
use crate::arch;
use crate::domain::{Domain, VcpuRef};
use crate::mm::{self, access, pagetable::Budget};

/// The most frames.
pub const MAX_FRAMES: usize = FIRST_RESERVED_GDT_PAGE as usize;
/// Entries in a frame.
const ENTRIES_PER_FRAME: u32 = 512;

/// Frames of a GDT, in order.
pub type Frames = Vec<Mfn, MAX_FRAMES>;

/// A guest's part of the GDT.
#[derive(Clone, Debug, Default)]
pub struct Gdt {
    /// The frames, each held as a descriptor page by being here.
    pub frames: Frames,
    /// How many entries the guest said it has.
    pub entries: u32,
}

/// How many frames hold `entries` descriptors.
///
/// # Errors
/// `EINVAL` when that would reach the core's own.
pub fn frames_for(entries: u64) -> Result<usize, Errno> {
    if entries > FIRST_RESERVED_GDT_ENTRY.into() {
        return Err(Errno::EINVAL);
    }
    usize::try_from(entries.div_ceil(ENTRIES_PER_FRAME.into())).map_err(|_| Errno::EINVAL)
}

/// Makes `frames` the GDT of `vcpu`: the calling one (`is_running`), or one that is not running.
///
/// # Errors
/// When a frame cannot serve as a descriptor page; nothing has changed then.
pub fn replace(
    vcpu: &VcpuRef,
    frames: Frames,
    entries: u32,
    is_running: bool,
) -> Result<(), Errno> {
    let domain = vcpu.domain();
    take_all(domain, &frames)?;
    let new = Gdt { frames, entries };
    let old = {
        let mut context = vcpu.context.lock();
        let old = core::mem::replace(&mut context.gdt, new);
        if is_running {
            arch::context::show_gdt(&context);
        } else {
            context.generation += 1;
        }
        old
    };
    put_all(domain, &old.frames);
    Ok(())
}

/// Gives the frames of a vCPU that runs no more back.
pub fn release(vcpu: &VcpuRef) {
    let old = core::mem::take(&mut vcpu.context.lock().gdt);
    put_all(vcpu.domain(), &old.frames);
}

fn take_all(domain: &Domain, frames: &Frames) -> Result<(), Errno> {
    for (taken, mfn) in frames.iter().enumerate() {
        let mut budget = Budget::new(access::CALL_BUDGET);
        let result = mm::with_space(domain, &mut budget, |space| {
            space.get_descriptors(*mfn, check_page)
        });
        if let Err(refusal) = result {
            put_all(domain, frames.get(..taken).unwrap_or(&[]));
            return Err(access::refused(
                domain,
                format_args!("GDT frame {mfn}"),
                refusal,
            ));
        }
    }
    Ok(())
}

fn put_all(domain: &Domain, frames: &[Mfn]) {
    if frames.is_empty() {
        return;
    }
    let mut budget = Budget::new(access::CALL_BUDGET);
    mm::with_space(domain, &mut budget, |space| {
        for mfn in frames {
            space.put_descriptors(*mfn);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gdt_ends_below_the_cores_descriptors() {
        assert_eq!(frames_for(0), Ok(0));
        assert_eq!(frames_for(16), Ok(1));
        assert_eq!(frames_for(513), Ok(2));
        assert_eq!(frames_for(7168), Ok(MAX_FRAMES));
        assert_eq!(frames_for(7169), Err(Errno::EINVAL));
        assert_eq!(frames_for(u64::MAX), Err(Errno::EINVAL));
    }
}
