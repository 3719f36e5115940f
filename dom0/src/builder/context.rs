//! The registers a guest starts with.

use guest_abi::layout::Layout;
use guest_abi::trap::{FLAT_RING3_CS64, FLAT_RING3_DS64, FLAT_RING3_SS64};
use guest_abi::vcpu::{ContextFlags, CpuUserRegs, VcpuGuestContext};
use guest_abi::{Mfn, PAGE_SHIFT};

use super::Kernel;

/// Interrupts "on", and the bit that is always set.
const RFLAGS: u64 = 0x202;

/// The context of vCPU 0.
pub(super) fn first(kernel: &Kernel<'_>, layout: &Layout, root: Mfn) -> VcpuGuestContext {
    let mut context = VcpuGuestContext {
        flags: (ContextFlags::IN_KERNEL | ContextFlags::ONLINE).bits(),
        user_regs: CpuUserRegs {
            rip: kernel.entry.get(),
            rsi: layout.address_of(layout.start_info).get(),
            rsp: layout.stack_top().get(),
            rflags: RFLAGS,
            cs: FLAT_RING3_CS64,
            ss: FLAT_RING3_SS64,
            ds: FLAT_RING3_DS64,
            es: FLAT_RING3_DS64,
            fs: FLAT_RING3_DS64,
            gs: FLAT_RING3_DS64,
            ..CpuUserRegs::default()
        },
        kernel_ss: FLAT_RING3_SS64.into(),
        kernel_sp: layout.stack_top().get(),
        ..VcpuGuestContext::default()
    };
    context.ctrlreg[3] = root.get() << PAGE_SHIFT;
    context
}
