//! Where exceptions, events and system calls enter the kernel.
//!
//! The hypervisor pushes, from high to low: SS, RSP, RFLAGS, CS, RIP, an error
//! code for some vectors, R11, RCX. A stub pops the last two (the way in has
//! destroyed them), adds what is missing up to a [`TrapFrame`] and calls Rust.
//! The way back is the `iret` hypercall.

use core::arch::global_asm;

use crate::traps::{TrapFrame, VECTOR_EVENT, VECTOR_FAILSAFE, VECTOR_SYSCALL};

/// Bytes from one exception stub to the next.
const STUB_SIZE: u64 = 16;

// trap_stubs: 32 stubs of 16 bytes, one per exception vector.
//   in:  stack = rcx, r11, [error code], rip, cs, rflags, rsp, ss
//   out: stack = vector, error code, rip, ...; goes to trap_common
global_asm!(
    ".pushsection .text, \"ax\", @progbits",
    // Rust code in other codegen units names them.
    ".global trap_stubs, trap_event, trap_syscall, trap_failsafe",
    ".balign 16",
    "trap_stubs:",
    ".set vector, 0",
    ".rept 32",
    "    .balign 16",
    "    pop rcx",
    "    pop r11",
    "    .if (vector < 8) || (vector == 9) || (vector == 15) || (vector == 16) || ((vector > 17) && (vector != 21))",
    "    push 0",
    "    .endif",
    "    push vector",
    "    jmp trap_common",
    "    .set vector, vector + 1",
    ".endr",

    // trap_common: saves the registers, calls trap_entry(&mut TrapFrame), returns
    // to the interrupted context through trap_return.
    "trap_common:",
    "    cld",
    "    push rax", "    push rbx", "    push rcx", "    push rdx", "    push rsi",
    "    push rdi", "    push rbp", "    push r8", "    push r9", "    push r10",
    "    push r11", "    push r12", "    push r13", "    push r14", "    push r15",
    "    mov rdi, rsp",
    "    call {entry}",
    "    mov rdi, rsp",

    // trap_return: resumes the context of a frame.
    //   in: rdi = TrapFrame
    // The iret hypercall wants, from low to high: rax, r11, rcx, flags, rip, cs,
    // rflags, rsp, ss. The last five are the frame's own tail.
    ".global trap_return",
    "trap_return:",
    "    mov rsp, rdi",
    "    pop r15", "    pop r14", "    pop r13", "    pop r12", "    pop r11",
    "    pop r10", "    pop r9", "    pop r8", "    pop rbp", "    pop rdi",
    "    pop rsi", "    pop rdx", "    pop rcx", "    pop rbx", "    pop rax",
    "    add rsp, 16",
    "    push 0",
    "    push rcx",
    "    push r11",
    "    push rax",
    "    mov eax, 23",
    "    syscall",
    "    ud2",

    // trap_event: the event callback.
    //   in: stack = rcx, r11, rip, cs, rflags, rsp, ss
    // Kernel code only wants to be woken: it goes on with events masked again
    // and looks at the pending bits itself. User code is a trap like any other.
    "trap_event:",
    "    pop rcx",
    "    pop r11",
    "    test byte ptr [rsp + 8], 3",
    "    jnz 1f",
    "    and qword ptr [rsp + 16], ~0x200",
    "    push 0",
    "    push rcx",
    "    push r11",
    "    push rax",
    "    mov eax, 23",
    "    syscall",
    "    ud2",
    "1:  push 0",
    "    push {event}",
    "    jmp trap_common",

    // trap_syscall: a system call of user code; the frame is that of an event.
    "trap_syscall:",
    "    pop rcx",
    "    pop r11",
    "    push 0",
    "    push {syscall}",
    "    jmp trap_common",

    // trap_failsafe: the hypervisor could not reload a segment register.
    //   in: stack = rcx, r11, ds, es, fs, gs, rip, cs, rflags, rsp, ss
    "trap_failsafe:",
    "    pop rcx",
    "    pop r11",
    "    add rsp, 32",
    "    push 0",
    "    push {failsafe}",
    "    jmp trap_common",
    ".popsection",
    entry = sym trap_entry,
    event = const VECTOR_EVENT,
    syscall = const VECTOR_SYSCALL,
    failsafe = const VECTOR_FAILSAFE,
);

unsafe extern "C" {
    static trap_stubs: [u8; 0];
    static trap_event: [u8; 0];
    static trap_syscall: [u8; 0];
    static trap_failsafe: [u8; 0];
}

/// Called by `trap_common` with the frame it has built.
extern "C" fn trap_entry(frame: &mut TrapFrame) {
    if frame.from_user() {
        super::user::leave(frame);
    }
    crate::traps::dispatch(frame);
}

/// The address of the stub for exception `vector` (below 32).
pub(crate) fn stub_address(vector: u8) -> u64 {
    (&raw const trap_stubs).addr() as u64 + u64::from(vector) * STUB_SIZE
}

/// The address of the event callback.
pub(crate) fn event_address() -> u64 {
    (&raw const trap_event).addr() as u64
}

/// The address of the system call callback.
pub(crate) fn syscall_address() -> u64 {
    (&raw const trap_syscall).addr() as u64
}

/// The address of the failsafe callback.
pub(crate) fn failsafe_address() -> u64 {
    (&raw const trap_failsafe).addr() as u64
}
