//! The table: number → handler, and the one place where what a handler answers becomes registers.

use guest_abi::errno::Errno;
use guest_abi::hypercall::Hypercall;
use guest_abi::vcpu::CpuUserRegs;

use super::{
    Call, Reply, Stop, callback_op, console_io, debugreg, domctl, event_channel_op, fpu_taskswitch,
    grant_table_op, memory_op, mmu_update, mmuext_op, multicall, physdev_op, platform_op, sched_op,
    set_callbacks, set_gdt, set_segment_base, set_timer_op, set_trap_table, stack_switch, sysctl,
    update_descriptor, update_va_mapping, vcpu_op, vm_assist, xen_version,
};
use crate::arch::machine::Hardware;
use crate::domain::VcpuRef;
use crate::effect::CrashReason;
use crate::trap;

/// Bytes of SYSCALL: what RIP is taken back by when a call is to be executed again.
const SYSCALL_LENGTH: u64 = 2;

/// Carries out the hypercall in `regs` and puts its result there.
///
/// A call that pauses goes back to the guest as it was, with RIP on the SYSCALL and the arguments
/// of what remains to be done: the guest executes it again, after events and other vCPUs had
/// their turn.
///
/// # Errors
/// The domain cannot go on.
#[inline]
pub fn enter(vcpu: &VcpuRef, regs: &mut CpuUserRegs) -> Result<(), CrashReason> {
    let number = regs.rax;
    if number == Hypercall::Iret.number() {
        return trap::exit::return_from_handler(regs, &vcpu.entry, &Hardware);
    }
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
    let mut call = Call { vcpu, args };
    match dispatch(number, &mut call) {
        Ok(value) => regs.rax = value.cast_unsigned(),
        Err(Stop::Errno(errno)) => regs.rax = errno.to_result_register().cast_unsigned(),
        Err(Stop::Again) => {
            [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = call.args;
            regs.rip = regs.rip.wrapping_sub(SYSCALL_LENGTH);
        }
        Err(Stop::Crash(reason)) => return Err(reason),
    }
    Ok(())
}

/// Calls the handler. Numbers that no guest needs, or that are left out on purpose, do not exist.
pub(super) fn dispatch(number: u64, call: &mut Call<'_>) -> Reply {
    let Some(hypercall) = Hypercall::from_number(number) else {
        return Err(Errno::ENOSYS.into());
    };
    match hypercall {
        Hypercall::SetTrapTable => set_trap_table::set_trap_table(call),
        Hypercall::MmuUpdate => mmu_update::mmu_update(call),
        Hypercall::SetGdt => set_gdt::set_gdt(call),
        Hypercall::StackSwitch => stack_switch::stack_switch(call),
        Hypercall::SetCallbacks => set_callbacks::set_callbacks(call),
        Hypercall::FpuTaskswitch => fpu_taskswitch::fpu_taskswitch(call),
        Hypercall::SetDebugreg => debugreg::set_debugreg(call),
        Hypercall::GetDebugreg => debugreg::get_debugreg(call),
        Hypercall::UpdateDescriptor => update_descriptor::update_descriptor(call),
        Hypercall::MemoryOp => memory_op::memory_op(call),
        Hypercall::Multicall => multicall::multicall(call),
        Hypercall::UpdateVaMapping => update_va_mapping::update_va_mapping(call),
        Hypercall::SetTimerOp => set_timer_op::set_timer_op(call),
        Hypercall::XenVersion => xen_version::xen_version(call),
        Hypercall::ConsoleIo => console_io::console_io(call),
        Hypercall::VmAssist => vm_assist::vm_assist(call),
        Hypercall::UpdateVaMappingOtherdomain => {
            update_va_mapping::update_va_mapping_otherdomain(call)
        }
        Hypercall::SetSegmentBase => set_segment_base::set_segment_base(call),
        Hypercall::MmuextOp => mmuext_op::mmuext_op(call),
        Hypercall::SchedOp => sched_op::sched_op(call),
        Hypercall::CallbackOp => callback_op::callback_op(call),
        Hypercall::VcpuOp => vcpu_op::vcpu_op(call),
        Hypercall::GrantTableOp => grant_table_op::grant_table_op(call),
        Hypercall::EventChannelOp => event_channel_op::event_channel_op(call),
        Hypercall::PhysdevOp => physdev_op::physdev_op(call),
        Hypercall::PlatformOp => platform_op::platform_op(call),
        Hypercall::Sysctl => sysctl::sysctl(call),
        Hypercall::Domctl => domctl::domctl(call),
        // `iret` changes the mode that the rest of a batch was checked for (XSA-213): alone only.
        Hypercall::Iret
        | Hypercall::SchedOpCompat
        | Hypercall::EventChannelOpCompat
        | Hypercall::PhysdevOpCompat
        | Hypercall::XsmOp
        | Hypercall::NmiOp
        | Hypercall::XenoprofOp
        | Hypercall::HvmOp
        | Hypercall::KexecOp
        | Hypercall::TmemOp
        | Hypercall::ArgoOp
        | Hypercall::XenpmuOp
        | Hypercall::DmOp
        | Hypercall::HypfsOp
        | Hypercall::Mca => Err(Errno::ENOSYS.into()),
    }
}
