//! `set_segment_base`: FS and GS bases, which ring 3 cannot set itself.

use guest_abi::errno::Errno;
use guest_abi::frame::GuestVirtAddr;
use guest_abi::trap::SegmentBase;

use super::{Call, Reply};
use crate::arch::machine::Hardware;
use crate::trap::gpr::low16;
use crate::trap::machine::{BaseRegister, Machine};

/// Sets a base of the calling vCPU, whose kernel's GS is the active one now.
pub fn set_segment_base(call: &mut Call<'_>) -> Reply {
    let [which, base, ..] = call.args;
    let which = SegmentBase::from_register(which).ok_or(Errno::EINVAL)?;
    if which == SegmentBase::GsUserSel {
        let selector = low16(base);
        let selector = if selector == 0 { 0 } else { selector | 3 };
        Hardware.load_inactive_gs(selector);
        return Ok(0);
    }
    // A base that is not canonical would fault in ring 0 (XSA-193).
    if !GuestVirtAddr::new(base).is_canonical() {
        return Err(Errno::EINVAL.into());
    }
    let register = match which {
        SegmentBase::Fs => BaseRegister::Fs,
        SegmentBase::GsUser | SegmentBase::GsUserSel => BaseRegister::GsInactive,
        SegmentBase::GsKernel => BaseRegister::GsActive,
    };
    Hardware.set_segment_base(register, base);
    Ok(0)
}
