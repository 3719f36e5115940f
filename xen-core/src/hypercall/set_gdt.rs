//! `set_gdt`: the frames of the guest's global descriptor table.

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use heapless::Vec;

use super::guest_ptr::GuestPtr;
use super::{Call, Reply};
use crate::trap::gdt;

/// Replaces the calling vCPU's table by the frames in the guest's array.
pub fn set_gdt(call: &mut Call<'_>) -> Reply {
    let [array, entries, ..] = call.args;
    // Xen takes 32 bits of the count.
    let entries = u32::try_from(entries & 0xffff_ffff).unwrap_or(u32::MAX);
    let count = gdt::frames_for(entries.into())?;
    let mut raw = [0u64; gdt::MAX_FRAMES];
    let wanted = raw.get_mut(..count).ok_or(Errno::EINVAL)?;
    GuestPtr::<u64>::new(array).copy_in_slice(wanted)?;
    let frames: Vec<Mfn, { gdt::MAX_FRAMES }> = wanted.iter().copied().map(Mfn::new).collect();

    gdt::replace(call.vcpu, frames, entries, true)?;
    Ok(0)
}
