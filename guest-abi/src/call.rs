//! The hypercall stubs: the one instruction that leads into the hypervisor.
//!
//! A plain `syscall` in guest kernel mode. RAX carries the number in and the result out; RDI, RSI,
//! RDX, R10 and R8 the arguments. The instruction destroys RCX and R11, and a preempted call may
//! come back with its argument registers rewritten, so they count as destroyed too.

use core::arch::asm;

use crate::errno::Errno;
use crate::hypercall::Hypercall;

/// Issues a hypercall and returns its result register.
///
/// Unused arguments may hold anything; zero by custom.
///
/// # Safety
///
/// 1. The program runs in guest kernel mode on a Xen-compatible hypervisor; anywhere else this is
///    some other system call.
/// 2. What the call does to memory, through its pointers or by changing mappings, keeps every
///    promise the program made about that memory.
#[inline]
pub unsafe fn raw(call: Hypercall, args: [u64; 5]) -> i64 {
    let [arg1, arg2, arg3, arg4, arg5] = args;
    let result: i64;
    // SAFETY: the caller promises that the call and its effects are in order; everything the
    // instruction itself changes is declared.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") call.number() => result,
            inlateout("rdi") arg1 => _,
            inlateout("rsi") arg2 => _,
            inlateout("rdx") arg3 => _,
            inlateout("r10") arg4 => _,
            inlateout("r8") arg5 => _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Issues a hypercall with up to five arguments, and sorts values from refusals.
///
/// # Errors
///
/// The refusal, when the result register is negative.
///
/// # Safety
///
/// As for [`raw`].
#[inline]
pub unsafe fn call<const N: usize>(call: Hypercall, args: [u64; N]) -> Result<u64, Errno> {
    const { assert!(N <= 5) };
    let mut all = [0; 5];
    for (slot, arg) in all.iter_mut().zip(args) {
        *slot = arg;
    }
    // SAFETY: the caller's promises are those that `raw` asks for.
    let result = unsafe { raw(call, all) };
    Errno::from_result_register(result)
}
