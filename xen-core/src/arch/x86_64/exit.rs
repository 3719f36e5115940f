//! Out of the core: work that is due, the vCPU that runs next, and what is delivered to it first.

use guest_abi::vcpu::CpuUserRegs;

use super::{context, core_trap, entry};
use crate::arch::machine::Hardware;
use crate::domain::VcpuRef;
use crate::sched;
use crate::trap::{self, exception};

/// Prepares the frame for the return to a guest. It holds another vCPU's registers afterwards if
/// another is to run; if none is, the CPU sleeps in here.
pub(super) extern "C" fn leave(frame: *mut CpuUserRegs) {
    loop {
        context::drop_if_asked();
        let is_ready = sched::next_to_run(|vcpu| {
            // SAFETY: the frame is this CPU's, lies there for good, and no reference to it is
            // alive: each caller's has ended, and a switch of vCPUs uses none across its return.
            deliver(vcpu, unsafe { &mut *frame })
        });
        if is_ready {
            break;
        }
    }
    core_trap::reset_retries();
}

/// Whether a hypercall of `vcpu` has no consequence, as most have none: nothing is due, nobody else
/// is to run, no event waits. Then there is nothing to [`leave`] for.
#[inline]
pub(super) fn is_quiet(vcpu: &VcpuRef) -> bool {
    let has_news = vcpu.entry.has_nmi() || trap::exit::has_event(&vcpu.entry, &Hardware);
    !has_news && sched::is_quiet(vcpu)
}

/// Delivers what waits for the vCPU. `false`: its domain has crashed, another must run.
fn deliver(vcpu: &VcpuRef, regs: &mut CpuUserRegs) -> bool {
    if vcpu.entry.take_nmi() {
        entry::with_emulator(regs, |_, guest| exception::raise_nmi(guest));
        return false;
    }
    match trap::exit::deliver_event(regs, &vcpu.entry, &Hardware) {
        Ok(()) => true,
        Err(reason) => {
            entry::crash(vcpu, regs, reason);
            false
        }
    }
}

/// Enters the first guest of this CPU.
pub(super) fn start() -> ! {
    let frame = super::percpu::frame_of_this_cpu();
    leave(frame);
    // SAFETY: the frame holds the registers of a vCPU that is loaded; nothing on this stack is
    // needed any more.
    unsafe {
        core::arch::asm!("mov rsp, {}", "jmp return_to_guest", in(reg) frame, options(noreturn))
    }
}
