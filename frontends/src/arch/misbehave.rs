//! Ways to go wrong on purpose, for guests that test what happens then.

use core::arch::asm;

use guest_abi::{Hypercall, call};

use super::bytes::pointer;

/// Reads memory that nobody has mapped.
pub fn touch_unmapped() {
    // SAFETY: none: the read faults, which is what it is for; it changes nothing.
    let _ = unsafe { pointer::<u8>(0xdead_0000).read_volatile() };
}

/// Takes back all exception handlers: the next exception is fatal.
pub fn forget_handlers() {
    // SAFETY: a null table clears the handlers; it breaks this domain only.
    let _ = unsafe { call::call(Hypercall::SetTrapTable, [0]) };
}

/// Faults where no exception frame can be pushed.
pub fn fault_without_stack() -> ! {
    // SAFETY: none: the domain ends here, by the hypervisor's hand.
    unsafe { asm!("mov rsp, 0x1000", "ud2", options(noreturn)) }
}
