//! A vCPU's whole context, in and out.

use alloc::boxed::Box;

use guest_abi::domctl::{Domctl, VcpuContext};
use guest_abi::errno::Errno;
use guest_abi::vcpu::{ContextFlags, VcpuGuestContext};

use super::super::guest_ptr::GuestPtr;
use super::super::{Call, Stop};
use super::Answer;
use crate::domain::{DomainRef, VcpuRef};
use crate::{sched, trap};

/// `XEN_DOMCTL_setvcpucontext`: gives a vCPU a context, and brings it up if that says so. It must
/// not be running: the roots that it is on would change under it.
pub(super) fn set(call: &Call<'_>, domain: &DomainRef, block: &Domctl) -> Result<Answer, Stop> {
    let wanted: VcpuContext = block.payload();
    if core::ptr::eq(call.domain(), &raw const **domain) || domain.life.is_dying() {
        return Err(Errno::EINVAL.into());
    }
    let vcpu = VcpuRef::new(domain, wanted.vcpu).ok_or(Errno::ESRCH)?;
    let ptr = GuestPtr::<VcpuGuestContext>::new(wanted.ctxt.get());
    let context = copy_in(ptr)?;
    sched::pause(domain);
    let given = trap::initialise(&vcpu, &context);
    sched::unpause(domain)?;
    given?;
    if context.flags & ContextFlags::ONLINE.bits() != 0 {
        sched::bring_up(&vcpu);
    }
    Ok(Answer::Plain)
}

/// In a stack frame of its own, gone before those that check the context take as much again.
#[inline(never)]
fn copy_in(context: GuestPtr<VcpuGuestContext>) -> Result<Box<VcpuGuestContext>, Errno> {
    Ok(Box::new(context.copy_in()?))
}

/// `XEN_DOMCTL_getvcpucontext`: of a vCPU that is held still while it is read.
pub(super) fn get(call: &Call<'_>, domain: &DomainRef, block: &Domctl) -> Result<Answer, Stop> {
    let asked: VcpuContext = block.payload();
    if core::ptr::eq(call.domain(), &raw const **domain) {
        return Err(Errno::EINVAL.into());
    }
    let vcpu = VcpuRef::new(domain, asked.vcpu).ok_or(Errno::ESRCH)?;
    if !vcpu.sched.is_initialised() {
        return Err(Errno::ENODATA.into());
    }
    sched::pause(domain);
    let context = trap::snapshot(&vcpu);
    sched::unpause(domain)?;
    GuestPtr::new(asked.ctxt.get()).copy_out(&*context)?;
    Ok(Answer::Plain)
}
