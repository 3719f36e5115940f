// Into the core and out of it again.
//
// Every way in leaves the guest's registers in the CpuUserRegs that lies at a fixed place of the
// CPU's stack region ("the frame"), and every way out restores them from there. GS and both GS
// bases belong to the guest: the core finds its own data from the stack pointer and executes
// SWAPGS only to move between the guest's kernel and user mode. The core's pages are mapped under
// each root, so entering and leaving touches no page table; only that same move loads CR3.
//
// Names in braces are offsets and functions that entry.rs fills in.

.set FRAME_RAX, {rax}
.set FRAME_VECTOR, {vector}
.set FRAME_ENTRY, {entry_state}
.set VECTOR_SYSCALL, 0x100
.set VECTOR_SYSCALL32, 0x101
.set CS64, 0xe033
.set CS32, 0xe023
.set SS64, 0xe02b
.set IRET, 23

// RFLAGS a guest may bring along through iret: all but IOPL, VM, VIF and VIP.
.set FLAGS_IRET, 0x254dd5
// RFLAGS a handler starts with: arithmetic and ID, none of TF, DF, NT, RF, AC.
.set FLAGS_HANDLER, 0x2008d5
// RFLAGS as shown to the guest kernel in a frame: no IF (it is virtual), IOPL, VM, VIF, VIP.
.set FLAGS_SHOWN, 0x254dd7
// Always set on the way out: IF and the reserved bit.
.set FLAGS_FORCED, 0x202
.set RF, 0x10000

// Saves what a system call does not destroy, except rax, and leaves no guest value behind in a
// register. rcx and r11 are saved as what they mean: the return address and flags.
.macro save_after_syscall
    mov [rsp + {rdi}], rdi
    mov [rsp + {rsi}], rsi
    mov [rsp + {rdx}], rdx
    mov rcx, [rsp + {rip}]
    mov [rsp + {rcx}], rcx
    mov [rsp + {r8}], r8
    mov [rsp + {r9}], r9
    mov [rsp + {r10}], r10
    mov r11, [rsp + {rflags}]
    mov [rsp + {r11}], r11
    save_preserved
.endm

// Saves the registers that compiled code preserves, then clears everything.
.macro save_preserved
    mov [rsp + {rbx}], rbx
    mov [rsp + {rbp}], rbp
    mov [rsp + {r12}], r12
    mov [rsp + {r13}], r13
    mov [rsp + {r14}], r14
    mov [rsp + {r15}], r15
    clear_registers
.endm

.macro clear_registers
    xor eax, eax
    xor ebx, ebx
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor edi, edi
    xor ebp, ebp
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    xor r12d, r12d
    xor r13d, r13d
    xor r14d, r14d
    xor r15d, r15d
.endm

// Pushes the general registers so that rsp points at a CpuUserRegs, and clears them.
.macro push_registers
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    clear_registers
.endm

.macro restore_all_but_rcx_r11_rsp
    mov r15, [rsp + {r15}]
    mov r14, [rsp + {r14}]
    mov r13, [rsp + {r13}]
    mov r12, [rsp + {r12}]
    mov rbp, [rsp + {rbp}]
    mov rbx, [rsp + {rbx}]
    mov r10, [rsp + {r10}]
    mov r9, [rsp + {r9}]
    mov r8, [rsp + {r8}]
    mov rax, [rsp + {rax}]
    mov rdx, [rsp + {rdx}]
    mov rsi, [rsp + {rsi}]
    mov rdi, [rsp + {rdi}]
.endm

// Calls a Rust function with the frame; the frame is 8 off a multiple of 16.
.macro call_with_frame function
    mov rdi, rsp
    sub rsp, 8
    call \function
    add rsp, 8
.endm

.text

// syscall_stubs: LSTAR of CPU n is syscall_stubs + 32 * n.
//   in:   rcx = return address, r11 = flags, rsp = the guest's, IF = 0
//   out:  to syscall_common with rsp = the frame, rax = the guest's rsp, the guest's rax saved
// Each CPU has a stub of its own, because without GS only code can tell where its stack is.
.balign 32
.global syscall_stubs
syscall_stubs:
.set cpu, 1
.rept {max_cpus}
    .balign 32
    // mov [frame.rax], rax with a 64-bit address
    .byte 0x48, 0xa3
    .quad {stacks} + cpu * 0x10000 - {info_size} + {rax}
    mov rax, rsp
    // mov rsp, frame
    .byte 0x48, 0xbc
    .quad {stacks} + cpu * 0x10000 - {info_size}
    jmp syscall_common
    .set cpu, cpu + 1
.endr

// syscall32_stubs: CSTAR, entered by SYSCALL in compatibility mode on CPUs that allow it.
//   as syscall_stubs. No guest can register a handler, so it becomes an #UD.
.balign 32
.global syscall32_stubs
syscall32_stubs:
.set cpu, 1
.rept {max_cpus}
    .balign 32
    .byte 0x48, 0xa3
    .quad {stacks} + cpu * 0x10000 - {info_size} + {rax}
    mov rax, rsp
    // mov rsp, frame
    .byte 0x48, 0xbc
    .quad {stacks} + cpu * 0x10000 - {info_size}
    jmp syscall32_common
    .set cpu, cpu + 1
.endr

syscall32_common:
    mov [rsp + {rsp_slot}], rax
    mov [rsp + {rip}], rcx
    mov [rsp + {rflags}], r11
    mov qword ptr [rsp + {cs}], CS32
    mov qword ptr [rsp + {ss}], SS64
    mov qword ptr [rsp + {error_code}], 0
    mov dword ptr [rsp + FRAME_VECTOR], VECTOR_SYSCALL32
    save_after_syscall
    call_with_frame {guest_trap}
    jmp return_to_guest

// syscall_common: the guest's kernel makes a hypercall, or its user a system call.
//   in:   rsp = the frame, rax = the guest's rsp, rcx, r11 as SYSCALL left them,
//         frame.rax saved; everything else is the guest's
//   out:  by one of the paths below
syscall_common:
    mov [rsp + {rsp_slot}], rax
    mov [rsp + {rip}], rcx
    mov [rsp + {rflags}], r11
    mov rax, [rsp + FRAME_ENTRY]
    cmp byte ptr [rax + {in_kernel}], 0
    je user_system_call
    cmp qword ptr [rsp + FRAME_RAX], IRET
    je iret_hypercall

// hypercall: the long way, through Rust.
//   in:   frame.rax, rip, rsp, rflags saved; rax, rcx, r11 free; the rest is the guest's
//   out:  return_to_guest
hypercall:
    mov qword ptr [rsp + {cs}], CS64
    mov qword ptr [rsp + {ss}], SS64
    mov qword ptr [rsp + {error_code}], 0
    mov dword ptr [rsp + FRAME_VECTOR], VECTOR_SYSCALL
    save_after_syscall
    call_with_frame {guest_hypercall}
    jmp return_to_guest

// user_system_call: bounces a system call to the guest's kernel, without Rust.
//   in:   as hypercall, rax = EntryState
//   out:  guest kernel mode at its syscall callback with a seven-word frame on its stack:
//         rcx, r11, rip, cs, rflags, rsp, ss; events masked; all other registers unchanged
//   slow: fast_syscall is clear: no callback, events stay unmasked, or an unfit stack
user_system_call:
    cmp byte ptr [rax + {fast_syscall}], 0
    je slow_system_call
    mov [rsp + {rdx}], rdx
    mov rdx, [rax + {kernel_root}]
    mov cr3, rdx
    swapgs
    mov byte ptr [rax + {in_kernel}], 1
    mov rdx, [rax + {kernel_sp}]
bounce_start:
    mov [rdx - 56], rcx
    mov [rdx - 48], r11
    mov [rdx - 40], rcx
    mov rcx, [rsp + {rsp_slot}]
    mov [rdx - 16], rcx
    mov qword ptr [rdx - 8], SS64
    // Virtual IF is the absence of the mask; the mask itself travels above CS.
    and r11d, FLAGS_SHOWN
    mov rcx, [rax + {vcpu_info}]
    movzx ecx, byte ptr [rcx + 1]
    test ecx, ecx
    jnz 1f
    or r11d, 0x200
1:  mov [rdx - 24], r11
    shl rcx, 32
    or rcx, CS64
    mov [rdx - 32], rcx
bounce_end:
    mov rcx, [rax + {vcpu_info}]
    mov byte ptr [rcx + 1], 1
    sub rdx, 56
    mov [rsp + {rsp_slot}], rdx
    and r11d, FLAGS_HANDLER
    or r11d, FLAGS_FORCED
    // Checked to be canonical when it was registered: SYSRET would fault in ring 0 otherwise.
    mov rcx, [rax + {syscall_callback}]
    mov rax, [rsp + FRAME_RAX]
    mov rdx, [rsp + {rdx}]
    mov rsp, [rsp + {rsp_slot}]
    sysretq

// The frame could not be written. The guest is in its kernel mode already.
bounce_fault:
    mov rdx, [rsp + {rdx}]
    mov qword ptr [rsp + {cs}], CS64
    mov qword ptr [rsp + {ss}], SS64
    mov qword ptr [rsp + {error_code}], 0
    mov dword ptr [rsp + FRAME_VECTOR], VECTOR_SYSCALL
    save_after_syscall
    call_with_frame {guest_bounce_fault}
    jmp return_to_guest

slow_system_call:
    mov qword ptr [rsp + {cs}], CS64
    mov qword ptr [rsp + {ss}], SS64
    mov qword ptr [rsp + {error_code}], 0
    mov dword ptr [rsp + FRAME_VECTOR], VECTOR_SYSCALL
    save_after_syscall
    call_with_frame {guest_system_call}
    jmp return_to_guest

// iret_hypercall: the guest's kernel returns from a handler, without Rust.
//   in:   as hypercall, rax = EntryState
//   out:  guest at the rip of its nine-word frame (rax, r11, rcx, flags, rip, cs, rflags, rsp,
//         ss), in user mode if cs says so; events masked if rflags lacks IF
//   slow: fast_iret is clear (an NMI is being handled), the frame is unreadable or in the core's
//         hole, there is no user root (all: hypercall), or an event waits (leave)
iret_hypercall:
    cmp byte ptr [rax + {fast_iret}], 0
    je hypercall
    mov rcx, [rsp + {rsp_slot}]
    mov r11, rcx
    shr r11, 43
    cmp r11d, 0x1ffff0
    je hypercall
    mov [rsp + {rdx}], rdx
    mov [rsp + {rsi}], rsi
    mov [rsp + {rdi}], rdi
    mov [rsp + {r8}], r8
    mov [rsp + {r9}], r9
    mov [rsp + {r10}], r10
iret_start:
    mov rdx, [rcx + 32]
    mov rsi, [rcx + 40]
    mov rdi, [rcx + 48]
    mov r8, [rcx + 56]
    mov r9, [rcx + 64]
    mov r10, [rcx + 8]
    mov r11, [rcx]
    mov rcx, [rcx + 16]
iret_end:
    mov [rsp + FRAME_RAX], r11
    mov [rsp + {r11}], r10
    mov [rsp + {rcx}], rcx
    mov ecx, esi
    and ecx, 3
    cmp ecx, 3
    jne 1f
    mov r10, [rax + {user_root}]
    test r10, r10
    jz iret_slow
    mov cr3, r10
    swapgs
    mov byte ptr [rax + {in_kernel}], 0
1:  mov [rsp + {rip}], rdx
    or esi, 3
    movzx esi, si
    mov [rsp + {cs}], rsi
    mov [rsp + {rsp_slot}], r8
    or r9d, 3
    movzx r9d, r9w
    mov [rsp + {ss}], r9
    mov r10d, edi
    shr r10d, 9
    not r10d
    and r10d, 1
    and edi, FLAGS_IRET
    or edi, FLAGS_FORCED
    mov [rsp + {rflags}], rdi
    mov qword ptr [rsp + {error_code}], 0
    mov rdx, [rsp + {rdx}]
    mov rsi, [rsp + {rsi}]
    mov rdi, [rsp + {rdi}]
    mov r8, [rsp + {r8}]
    mov r9, [rsp + {r9}]
    // Unmask first, look for events after: one that comes between is seen here.
    mov rcx, [rax + {vcpu_info}]
    mov [rcx + 1], r10b
    test r10d, r10d
    mov r10, [rsp + {r10}]
    jnz 2f
    cmp byte ptr [rcx], 0
    jne iret_event
2:  mov r11, [rsp + {r11}]
    mov rcx, [rsp + {rcx}]
    mov rax, [rsp + FRAME_RAX]
    add rsp, {rip}
    jmp final_iret

// An event waits, and the guest has just unmasked: everything but the preserved registers is in
// the frame.
iret_event:
    save_preserved
    call_with_frame {leave}
    jmp return_to_guest

// Puts back what iret_hypercall has taken for itself, then the long way.
iret_slow:
    mov qword ptr [rsp + FRAME_RAX], IRET
    mov rdx, [rsp + {rdx}]
    mov rsi, [rsp + {rsi}]
    mov rdi, [rsp + {rdi}]
    mov r8, [rsp + {r8}]
    mov r9, [rsp + {r9}]
    mov r10, [rsp + {r10}]
    jmp hypercall

// return_to_guest: everything from the frame into the registers.
//   in:   rsp = the frame
//   out:  the guest. By SYSRET when the frame is a system call's, whose rcx and r11 the guest
//         does not expect back, and when SYSRET can express it; by IRETQ otherwise. A
//         non-canonical rip goes by IRETQ, whose fault has a fix-up.
.global return_to_guest
return_to_guest:
    cmp dword ptr [rsp + FRAME_VECTOR], VECTOR_SYSCALL
    jne 1f
    mov rcx, [rsp + {rip}]
    mov rax, rcx
    shl rax, 16
    sar rax, 16
    cmp rax, rcx
    jne 1f
    cmp word ptr [rsp + {cs}], CS64
    jne 1f
    cmp word ptr [rsp + {ss}], SS64
    jne 1f
    mov r11, [rsp + {rflags}]
    test r11d, RF
    jnz 1f
    and r11d, FLAGS_IRET
    or r11d, FLAGS_FORCED
    restore_all_but_rcx_r11_rsp
    mov rsp, [rsp + {rsp_slot}]
    sysretq
1:  and dword ptr [rsp + {rflags}], FLAGS_IRET
    or dword ptr [rsp + {rflags}], FLAGS_FORCED
    restore_all_but_rcx_r11_rsp
    mov rcx, [rsp + {rcx}]
    mov r11, [rsp + {r11}]
    add rsp, {rip}
.global final_iret
final_iret:
    iretq
