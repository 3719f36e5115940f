//! Copies between the core and the guest kernel's current address space.
//!
//! A guest's address is checked against the core's hole and then simply used: if it faults, the
//! page-fault handler finds the faulting instruction in [`fixup`] and the copy ends early. The
//! guest's own protections hold except that the core may read and write what only user mode of the
//! guest could: both run in ring 3.

use core::arch::{asm, global_asm};

use guest_abi::frame::GuestVirtAddr;

pub use crate::arch::fault::Fault;
use crate::arch::layout::is_off_limits;

// guest_copy
//   in:   rdi = to, rsi = from, rdx = bytes; the direction flag is clear
//   out:  rax = bytes (or, before them, words) left when a fault ended the copy, else 0
//   uses: rcx, rdx, rsi, rdi
global_asm!(
    ".pushsection .text.guest_copy, \"ax\"",
    ".global guest_copy, guest_copy_words, guest_copy_rest, guest_copy_end",
    "guest_copy:",
    "mov rcx, rdx",
    "shr rcx, 3",
    "guest_copy_words: rep movsq",
    "mov ecx, edx",
    "and ecx, 7",
    "guest_copy_rest: rep movsb",
    "guest_copy_end:",
    "mov rax, rcx",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    static guest_copy_words: u8;
    static guest_copy_rest: u8;
    static guest_copy_end: u8;
}

/// Where to go on after a page fault (or #GP) at `rip` of the core, if that is an access to guest
/// memory that may fault.
pub fn fixup(rip: u64) -> Option<u64> {
    let (words, rest) = (&raw const guest_copy_words, &raw const guest_copy_rest);
    (rip == words as u64 || rip == rest as u64).then_some(&raw const guest_copy_end as u64)
}

/// Copies `into.len()` bytes from the guest.
///
/// # Errors
/// When any of them cannot be read; `into` then holds a part.
pub fn copy_from_guest(from: GuestVirtAddr, into: &mut [u8]) -> Result<(), Fault> {
    if is_off_limits(from.get(), into.len() as u64) {
        return Err(Fault);
    }
    // SAFETY: `into` is ours, and a bad source address ends in the fix-up.
    unsafe { copy(from.get() as *const u8, into.as_mut_ptr(), into.len()) }
}

/// Copies `from` to the guest.
///
/// # Errors
/// When any byte cannot be written; a part may have been.
pub fn copy_to_guest(to: GuestVirtAddr, from: &[u8]) -> Result<(), Fault> {
    if is_off_limits(to.get(), from.len() as u64) {
        return Err(Fault);
    }
    // SAFETY: the target is outside of the core's hole, and a bad one ends in the fix-up.
    unsafe { copy(from.as_ptr(), to.get() as *mut u8, from.len()) }
}

/// # Safety
/// Whichever end is not the guest's is valid for `len` bytes, and the guest's end lies outside of
/// the core's hole.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> Result<(), Fault> {
    let left: u64;
    // SAFETY: `guest_copy` touches just these two ranges (the caller's promise) and the registers
    // named.
    unsafe {
        asm!("call guest_copy", inout("rdi") to => _, inout("rsi") from => _,
            inout("rdx") len => _, lateout("rax") left, lateout("rcx") _);
    }
    if left == 0 { Ok(()) } else { Err(Fault) }
}
