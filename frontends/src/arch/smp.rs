//! Further virtual CPUs: their first context and their stack.

use alloc::{boxed::Box, vec};

use guest_abi::{
    Errno, GuestVirtAddr, Hypercall, VcpuId,
    trap::{FLAT_RING3_CS64, FLAT_RING3_SS64},
    vcpu::{ContextFlags, VcpuGuestContext, VcpuOp},
};

use super::{hypercall, memory, trap, user::TrapStack};

/// Bytes of a further virtual CPU's stack.
const STACK_SIZE: usize = 64 * 1024;

/// What a further virtual CPU runs.
pub type Entry = fn(VcpuId) -> !;

/// The first function on a further virtual CPU.
#[expect(
    improper_ctypes_definitions,
    reason = "the register is filled right below"
)]
extern "C" fn secondary(vcpu: u32, entry: Entry) -> ! {
    entry(VcpuId::new(vcpu))
}

/// Starts a virtual CPU: it runs `entry` in this address space, events masked.
///
/// # Errors
///
/// The hypervisor's refusal: `ENOENT` if there is no such vCPU, `EEXIST` if it
/// was started before.
pub fn start(vcpu: VcpuId, entry: Entry) -> Result<(), Errno> {
    // Both live as long as the vCPU does: for ever.
    let stack = vec![0_u128; STACK_SIZE / 16].leak().as_ptr_range();
    let trap_stack = Box::leak(Box::new(TrapStack::new()));
    let stack_top = stack.end.expose_provenance() as u64;

    let mut context = Box::new(VcpuGuestContext::default());
    context.flags = ContextFlags::IN_KERNEL.bits();
    let regs = &mut context.user_regs;
    regs.rip = (secondary as extern "C" fn(u32, Entry) -> !) as usize as u64;
    // As after a call: the ABI wants RSP 8 below a multiple of 16.
    regs.rsp = stack_top - 8;
    regs.rdi = u64::from(vcpu.get());
    regs.rsi = entry as usize as u64;
    regs.cs = FLAT_RING3_CS64;
    regs.ss = FLAT_RING3_SS64;
    regs.rflags = 0x202;
    for (slot, handler) in context.trap_ctxt.iter_mut().zip(crate::traps::table()) {
        *slot = handler;
    }
    context.kernel_ss = u64::from(FLAT_RING3_SS64);
    context.kernel_sp = trap_stack.top();
    context.ctrlreg[3] = memory::root().to_maddr().get();
    context.event_callback_eip = GuestVirtAddr::new(trap::event_address());
    context.failsafe_callback_eip = GuestVirtAddr::new(trap::failsafe_address());
    context.syscall_callback_eip = GuestVirtAddr::new(trap::syscall_address());
    context.flags |=
        (ContextFlags::FAILSAFE_DISABLES_EVENTS | ContextFlags::SYSCALL_DISABLES_EVENTS).bits();

    let args = [
        u64::from(VcpuOp::Initialise.number()),
        u64::from(vcpu.get()),
        core::ptr::from_mut(&mut *context).expose_provenance() as u64,
    ];
    // SAFETY: the context leads to a stack of its own, this crate's handlers and
    // the root that is loaded here.
    unsafe { guest_abi::call::call(Hypercall::VcpuOp, args) }?;
    hypercall::vcpu_op_bare(VcpuOp::Up, vcpu).map(drop)
}

/// Whether a virtual CPU is up; `None` if it does not exist.
#[must_use]
pub fn is_up(vcpu: VcpuId) -> Option<bool> {
    hypercall::vcpu_op_bare(VcpuOp::IsUp, vcpu)
        .ok()
        .map(|up| up != 0)
}
