//! Copies between the core and the guest kernel's current address space.
//!
//! A guest's address is checked against the core's hole and then simply used: if it faults, the
//! page-fault handler finds the faulting instruction in [`fixup`] and the copy ends early. The
//! guest's own protections hold except that the core may read and write what only user mode of the
//! guest could: both run in ring 3.

use core::arch::{asm, global_asm};
use core::mem::MaybeUninit;

use guest_abi::frame::GuestVirtAddr;
use zerocopy::FromBytes;

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

// guest_store: a status is all that many calls write
//   in:   rdi = to, esi = 16 bits
//   out:  rax = 0, or 1 when a fault prevented it
global_asm!(
    ".pushsection .text.guest_copy, \"ax\"",
    ".global guest_store, guest_store_half, guest_store_failed",
    "guest_store:",
    "xor eax, eax",
    "guest_store_half: mov [rdi], si",
    "ret",
    "guest_store_failed:",
    "mov eax, 1",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    static guest_copy_words: u8;
    static guest_copy_rest: u8;
    static guest_copy_end: u8;
    static guest_store_half: u8;
    static guest_store_failed: u8;
}

/// Where to go on after a page fault (or #GP) at `rip` of the core, if that is an access to guest
/// memory that may fault.
pub fn fixup(rip: u64) -> Option<u64> {
    let (words, rest) = (&raw const guest_copy_words, &raw const guest_copy_rest);
    if rip == words as u64 || rip == rest as u64 {
        Some(&raw const guest_copy_end as u64)
    } else if rip == &raw const guest_store_half as u64 {
        Some(&raw const guest_store_failed as u64)
    } else {
        None
    }
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

/// Copies as many values from the guest as there is room for.
///
/// # Errors
/// When any byte of them cannot be read.
#[inline]
pub fn copy_values_from_guest<T: FromBytes>(
    from: GuestVirtAddr,
    room: &mut [MaybeUninit<T>],
) -> Result<&[T], Fault> {
    let len = size_of_val(room);
    if is_off_limits(from.get(), len as u64) {
        return Err(Fault);
    }
    // SAFETY: `room` is ours, and a bad source address ends in the fix-up.
    unsafe { copy(from.get() as *const u8, room.as_mut_ptr().cast(), len) }?;
    // SAFETY: each byte has been written, and any bytes are values of a `FromBytes` type.
    Ok(unsafe { room.assume_init_ref() })
}

/// Copies `from` to the guest.
///
/// # Errors
/// When any byte cannot be written; a part may have been.
#[inline]
pub fn copy_to_guest(to: GuestVirtAddr, from: &[u8]) -> Result<(), Fault> {
    if is_off_limits(to.get(), from.len() as u64) {
        return Err(Fault);
    }
    if let &[low, high] = from {
        // SAFETY: the target is outside of the core's hole, and a bad one ends in the fix-up.
        return unsafe { store(to.get() as *mut u16, u16::from_le_bytes([low, high])) };
    }
    // SAFETY: the target is outside of the core's hole, and a bad one ends in the fix-up.
    unsafe { copy(from.as_ptr(), to.get() as *mut u8, from.len()) }
}

/// # Safety
/// The two bytes at `to` lie outside of the core's hole.
#[inline]
unsafe fn store(to: *mut u16, value: u16) -> Result<(), Fault> {
    let failed: u64;
    // SAFETY: `guest_store` writes just these bytes (the caller's promise) and the register named.
    unsafe {
        asm!("call guest_store", in("rdi") to, in("esi") u32::from(value), lateout("rax") failed);
    }
    if failed == 0 { Ok(()) } else { Err(Fault) }
}

/// # Safety
/// Whichever end is not the guest's is valid for `len` bytes, and the guest's end lies outside of
/// the core's hole.
#[inline]
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
