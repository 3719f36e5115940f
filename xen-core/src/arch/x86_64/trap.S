// Exceptions and interrupts: the stubs that the IDT points at, and what they have in common.
//
// Assembled after entry.S, whose macros and names it uses.

// trap_entry: one 16-byte stub for each vector; trap_entry_points lists their addresses.
//   in:   the processor's frame, with an error code for some vectors
//   out:  to a common part with the error code and the vector pushed as CpuUserRegs has them
.macro trap_stub number
    .balign 16
    .if (\number == 8) || ((\number >= 10) && (\number <= 14)) || (\number == 17) || (\number == 21)
    .else
        push 0
    .endif
    mov dword ptr [rsp + 4], \number
    .if (\number == 1)
        jmp debug_common
    .elseif (\number == 2) || (\number == 8) || (\number == 18)
        jmp ist_common
    .else
        jmp trap_common
    .endif
.endm

.balign 16
trap_entry:
.set number, 0
.rept 256
    trap_stub number
    .set number, number + 1
.endr

// trap_common: an exception or interrupt, from the guest or from the core itself.
//   in:   stack as CpuUserRegs from error_code upwards. From the guest that is the frame, because
//         the TSS stack pointer is its end
//   out:  return_to_guest, or back into the core
trap_common:
    cld
    push_registers
    test byte ptr [rsp + {cs}], 3
    jz trap_in_core
trap_from_guest:
    call_with_frame {guest_trap}
    jmp return_to_guest

// trap_in_core: an interrupt of the idle loop, or a fault.
//   in:   rsp = a CpuUserRegs without data selectors, somewhere on a stack
//   out:  to where the function left rip, or, after a failed final_iret, to the guest by way of
//         the frame into which the function has copied its registers
trap_in_core:
    mov rdi, rsp
    mov rbp, rsp
    and rsp, -16
    call {core_trap}
    mov rsp, rbp
    test eax, eax
    jnz iret_failed
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    add rsp, 8
    iretq

iret_failed:
    or rsp, 0xffff
    inc rsp
    sub rsp, {info_size}
    call_with_frame {guest_iret_fault}
    jmp return_to_guest

// ist_common: NMI, double fault, machine check, each on a stack of its own.
//   in:   as trap_common. These come between any two instructions, in the guest or the core
//   out:  back to exactly there
ist_common:
    cld
    push_registers
    mov rdi, rsp
    mov rbp, rsp
    and rsp, -16
    call {ist_trap}
    mov rsp, rbp
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    add rsp, 8
    iretq

// debug_common: #DB, on a stack of its own because one that is held back by "mov ss" arrives at
// the first instruction of syscall_stubs, where rsp is still the guest's.
//   in:   as trap_common
//   out:  the guest's: moved to the frame, then like any trap. The core's: ignored
debug_common:
    cld
    push_registers
    test byte ptr [rsp + {cs}], 3
    jz trap_in_core
    mov rsi, rsp
    mov rdi, rsp
    or rdi, 0xffff
    inc rdi
    sub rdi, {info_size}
    mov rdx, rdi
    mov ecx, 21
    rep movsq
    mov rsp, rdx
    jmp trap_from_guest

// trap_entry_points: the addresses of the 256 stubs, for the IDT.
.section .rodata, "a"
.balign 8
.global trap_entry_points
trap_entry_points:
.set number, 0
.rept 256
    .quad trap_entry + number * 16
    .set number, number + 1
.endr
.text
