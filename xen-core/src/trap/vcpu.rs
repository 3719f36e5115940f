//! A vCPU's context as the ABI carries it: in from `VCPUOP_initialise` and domctl, out to domctl.
//!
//! Everything is checked before anything changes, except frames and roots, whose references are
//! taken last and given back if a later one is refused.

use alloc::boxed::Box;

use guest_abi::errno::Errno;
use guest_abi::frame::{GuestVirtAddr, MachAddr, Mfn};
use guest_abi::vcpu::{ContextFlags, VcpuGuestContext};
use guest_abi::zerocopy::FromZeros;
use heapless::Vec;

use super::context::{Bases, FpuArea, VcpuContext};
use super::debugreg::DebugRegisters;
use super::state::{Callback, EntryState, is_callable};
use super::{flags, gdt, ldt};
use crate::domain::VcpuRef;
use crate::hypercall::Stop;
use crate::mm::pagetable::TableError;
use crate::mm::{self, Which};

/// Control registers in `ctrlreg`.
const CR_USER_ROOT: usize = 1;
const CR_KERNEL_ROOT: usize = 3;
const CR4: usize = 4;

/// What a context asks for, checked.
struct Wanted {
    context: VcpuContext,
    kernel_root: Mfn,
    user_root: Option<Mfn>,
    gdt: gdt::Frames,
    in_kernel: bool,
}

/// Gives a vCPU that is not running its context.
///
/// # Errors
/// `EINVAL` for values no guest may have, `EEXIST` if it has run on other tables, what the page
/// tables say for roots and frames, and [`Stop::Again`] when checking the root takes long: the
/// same call resumes.
pub fn initialise(vcpu: &VcpuRef, from: &VcpuGuestContext) -> Result<(), Stop> {
    let wanted = check(from)?;
    let (kernel, user) = (Some(wanted.kernel_root), wanted.user_root);
    // An idle CPU may still be on the roots that the vCPU ran on: they cannot be exchanged.
    for (which, root) in [(Which::Kernel, kernel), (Which::User, user)] {
        if mm::roots::root(vcpu, which).is_some_and(|old| Some(old) != root) {
            return Err(Errno::EEXIST.into());
        }
    }
    install_root(vcpu, Which::Kernel, kernel)?;
    let rest = install_root(vcpu, Which::User, user).and_then(|()| {
        let entries = u32::try_from(from.gdt_ents).map_err(|_| Errno::EINVAL)?;
        gdt::replace(vcpu, wanted.gdt.clone(), entries, false)?;
        Ok(ldt::install(vcpu, from.ldt_base, from.ldt_ents)?)
    });
    match rest {
        Ok(()) => {}
        // The kernel's root stays in place for the next attempt.
        Err(Stop::Again) => return Err(Stop::Again),
        Err(stop) => {
            drop_roots(vcpu);
            return Err(stop);
        }
    }
    set_entry_state(&vcpu.entry, from, wanted.in_kernel);
    let mut context = vcpu.context.lock();
    let VcpuContext {
        gdt,
        ldt,
        generation,
        tsc_aux,
        ..
    } = &*context;
    *context = VcpuContext {
        gdt: gdt.clone(),
        ldt: ldt.clone(),
        generation: generation + 1,
        tsc_aux: *tsc_aux,
        ..wanted.context
    };
    Ok(())
}

fn check(from: &VcpuGuestContext) -> Result<Box<Wanted>, Errno> {
    let context_flags = ContextFlags::from_bits_truncate(from.flags);
    let in_kernel = context_flags.contains(ContextFlags::IN_KERNEL);
    let mut context = VcpuContext::new();
    for info in from.trap_ctxt.iter().filter(|info| !info.address.is_null()) {
        if !context.traps.set(info) {
            return Err(Errno::EINVAL);
        }
    }
    let callbacks = [
        from.event_callback_eip,
        from.failsafe_callback_eip,
        from.syscall_callback_eip,
    ];
    let bases = [from.fs_base, from.gs_base_kernel, from.gs_base_user];
    let are_callable = callbacks.iter().all(|at| at.is_null() || is_callable(*at));
    let are_canonical = bases
        .iter()
        .all(|base| GuestVirtAddr::new(*base).is_canonical());
    if !are_callable || !are_canonical {
        return Err(Errno::EINVAL);
    }
    context.regs = from.user_regs;
    context.regs.cs |= 3;
    context.regs.ss |= 3;
    // Linux gives its secondary vCPUs their I/O privilege this way, not by `set_iopl`.
    context.io.iopl = flags::io_privilege(from.user_regs.rflags);
    context.regs.rflags = flags::sanitise(context.regs.rflags);
    context.regs.entry_vector = 0;
    context.regs.error_code = 0;
    context.bases = Bases {
        fs: from.fs_base,
        gs_kernel: from.gs_base_kernel,
        gs_user: from.gs_base_user,
    };
    if context_flags.contains(ContextFlags::I387_VALID) {
        context.fpu = FpuArea::from_image(&from.fpu_ctxt);
    }
    context.debug = debug_registers(&from.debugreg)?;
    if let Some(cr4) = from.ctrlreg.get(CR4).filter(|cr4| **cr4 != 0) {
        context.set_cr4(*cr4);
    }
    context.is_initialised = true;

    let count = gdt::frames_for(from.gdt_ents)?;
    let frames = from.gdt_frames.get(..count).ok_or(Errno::EINVAL)?;
    let kernel_root = root(from, CR_KERNEL_ROOT).ok_or(Errno::EINVAL)?;
    let user_root = root(from, CR_USER_ROOT);
    if !in_kernel && user_root.is_none() {
        return Err(Errno::EINVAL);
    }
    let gdt = Vec::from_slice(frames).map_err(|_| Errno::EINVAL)?;
    Ok(Box::new(Wanted {
        context,
        kernel_root,
        user_root,
        gdt,
        in_kernel,
    }))
}

/// The frame in a control register; 0 stands for none.
fn root(from: &VcpuGuestContext, number: usize) -> Option<Mfn> {
    let value = *from.ctrlreg.get(number)?;
    (value != 0).then(|| MachAddr::new(value).frame())
}

fn debug_registers(from: &[u64; 8]) -> Result<DebugRegisters, Errno> {
    let mut debug = DebugRegisters::new();
    for (number, value) in (0..).zip(from) {
        if *value != 0 && !matches!(number, 4 | 5) {
            debug.set(number, *value)?;
        }
    }
    Ok(debug)
}

fn set_entry_state(entry: &EntryState, from: &VcpuGuestContext, in_kernel: bool) {
    let has = |flag| ContextFlags::from_bits_truncate(from.flags).contains(flag);
    entry.set_in_kernel(in_kernel);
    entry.set_in_nmi(false);
    entry.set_kernel_stack(from.kernel_ss, from.kernel_sp);
    entry.set_event_callback(from.event_callback_eip);
    entry.set_failsafe_callback(Callback {
        address: from.failsafe_callback_eip,
        masks_events: has(ContextFlags::FAILSAFE_DISABLES_EVENTS),
    });
    entry.set_syscall_callback(Callback {
        address: from.syscall_callback_eip,
        masks_events: has(ContextFlags::SYSCALL_DISABLES_EVENTS),
    });
}

fn install_root(vcpu: &VcpuRef, which: Which, new: Option<Mfn>) -> Result<(), Stop> {
    mm::install_root(vcpu.domain(), vcpu, which, new).map_err(|error| match error {
        TableError::Again => Stop::Again,
        TableError::Refused(_) => {
            mm::access::stop_for(vcpu.domain(), format_args!("root of {vcpu}"), error)
        }
    })
}

fn drop_roots(vcpu: &VcpuRef) {
    for which in [Which::Kernel, Which::User] {
        if mm::install_root(vcpu.domain(), vcpu, which, None).is_err() {
            log::error!("{vcpu}: giving up a root was refused");
        }
    }
}

/// Gives back what a vCPU of a dying domain holds besides its roots.
pub fn release(vcpu: &VcpuRef) {
    gdt::release(vcpu);
    ldt::release(vcpu);
}

/// The context of a vCPU that is not running.
pub fn snapshot(vcpu: &VcpuRef) -> Box<VcpuGuestContext> {
    let mut out = Box::new(VcpuGuestContext::new_zeroed());
    let (entry, context) = (&vcpu.entry, vcpu.context.lock());
    let mut context_flags = ContextFlags::I387_VALID;
    context_flags.set(ContextFlags::IN_KERNEL, entry.in_kernel());
    context_flags.set(
        ContextFlags::FAILSAFE_DISABLES_EVENTS,
        entry
            .failsafe_callback()
            .is_some_and(|callback| callback.masks_events),
    );
    context_flags.set(
        ContextFlags::SYSCALL_DISABLES_EVENTS,
        entry
            .syscall_callback()
            .is_some_and(|callback| callback.masks_events),
    );
    out.flags = context_flags.bits();
    out.fpu_ctxt = context.fpu.0;
    out.user_regs = context.regs;
    out.user_regs.rflags |= u64::from(context.io.iopl) << 12;
    out.trap_ctxt = context.traps.to_info();
    out.ldt_base = context.ldt.base;
    out.ldt_ents = context.ldt.entries.into();
    for (slot, mfn) in out.gdt_frames.iter_mut().zip(&context.gdt.frames) {
        *slot = *mfn;
    }
    out.gdt_ents = context.gdt.entries.into();
    (out.kernel_ss, out.kernel_sp) = entry.kernel_stack();
    let user_root = entry.user_root().map_or(0, MachAddr::get);
    out.ctrlreg = [
        context.cr0(),
        user_root,
        0,
        entry.kernel_root().get(),
        context.cr4,
        0,
        0,
        0,
    ];
    let [dr0, dr1, dr2, dr3] = context.debug.address;
    out.debugreg = [
        dr0,
        dr1,
        dr2,
        dr3,
        0,
        0,
        context.debug.dr6,
        context.debug.dr7,
    ];
    let address = |callback: Option<Callback>| callback.unwrap_or_default().address;
    out.event_callback_eip = address(entry.event_callback());
    out.failsafe_callback_eip = address(entry.failsafe_callback());
    out.syscall_callback_eip = address(entry.syscall_callback());
    out.fs_base = context.bases.fs;
    out.gs_base_kernel = context.bases.gs_kernel;
    out.gs_base_user = context.bases.gs_user;
    out
}

#[cfg(test)]
mod tests {
    use super::{VcpuGuestContext, check};
    use guest_abi::zerocopy::FromZeros;

    #[test]
    fn a_context_brings_its_io_privilege_in_rflags_and_nowhere_else() {
        let mut from = VcpuGuestContext::new_zeroed();
        from.flags = guest_abi::vcpu::ContextFlags::IN_KERNEL.bits();
        from.ctrlreg[3] = 0x1000;
        from.user_regs.rflags = 0x1000;
        let wanted = check(&from).expect("an empty context will do");
        assert_eq!(wanted.context.io.iopl, 1);
        assert_eq!(wanted.context.regs.rflags & super::flags::IOPL, 0);
    }
}
