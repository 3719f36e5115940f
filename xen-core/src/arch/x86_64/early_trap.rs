//! Traps before the real entry code is there: report and stop.

use core::arch::global_asm;

use crate::debug::backtrace::{CodeAddress, die, say};

global_asm!(
    ".text",
    ".balign 16",
    "early_stubs:",
    ".set vector, 0",
    ".rept 256",
    ".balign 16",
    // Vectors whose frame carries an error code.
    ".if (vector == 8) | ((vector >= 10) & (vector <= 14)) | (vector == 17)",
    ".else",
    "push 0",
    ".endif",
    "push vector",
    "jmp early_trap_common",
    ".set vector, vector + 1",
    ".endr",
    "early_trap_common:",
    "mov rdi, rsp",
    "mov rsi, rbp",
    "and rsp, -16",
    "call early_trap",
    "ud2",
    ".section .rodata",
    ".balign 8",
    ".weak trap_entry_points",
    "trap_entry_points:",
    ".set vector, 0",
    ".rept 256",
    ".quad early_stubs + 16 * vector",
    ".set vector, vector + 1",
    ".endr",
    ".text",
);

/// What the stubs push.
#[repr(C)]
struct Frame {
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

#[unsafe(no_mangle)]
extern "C" fn early_trap(frame: &Frame, rbp: u64) -> ! {
    let address = x86_64::registers::control::Cr2::read_raw();
    die(
        format_args!("trap {} (error code {:#x})", frame.vector, frame.error_code),
        || {
            say(format_args!(
                "at {} cr2 {address:#x}",
                CodeAddress(frame.rip)
            ));
            say(format_args!(
                "rflags {:#x} rsp {:#x}",
                frame.rflags, frame.rsp
            ));
        },
        rbp,
    )
}
