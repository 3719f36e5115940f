// Instructions that may fault on a guest's value, as functions that say so, and the table by which
// the fault handler finds their way out.
//
// Assembled after entry.S.

// guarded_load_ds, _es, _fs, _gs (edi = selector) -> eax = 0, or 1 if the load faulted.
.macro guarded_load segment
    .global guarded_load_\segment
guarded_load_\segment:
    mov \segment, edi
guarded_load_\segment\()_end:
    xor eax, eax
    ret
.endm
guarded_load ds
guarded_load es
guarded_load fs
guarded_load gs

// guarded_rdmsr(edi = number, rsi = where to) -> eax = 0, or 1 if it faulted.
.global guarded_rdmsr
guarded_rdmsr:
    mov ecx, edi
guarded_rdmsr_start:
    rdmsr
guarded_rdmsr_end:
    mov [rsi], eax
    mov [rsi + 4], edx
    xor eax, eax
    ret

// guarded_wrmsr(edi = number, rsi = value) -> eax = 0, or 1 if it faulted.
.global guarded_wrmsr
guarded_wrmsr:
    mov ecx, edi
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
guarded_wrmsr_start:
    wrmsr
guarded_wrmsr_end:
    xor eax, eax
    ret

guarded_failed:
    mov eax, 1
    ret

// fixup_table: first address, end, and where to go on after a fault between the two.
.section .rodata, "a"
.balign 8
.global fixup_table
fixup_table:
    .quad bounce_start, bounce_end, bounce_fault
    .quad iret_start, iret_end, iret_slow
    .quad guarded_load_ds, guarded_load_ds_end, guarded_failed
    .quad guarded_load_es, guarded_load_es_end, guarded_failed
    .quad guarded_load_fs, guarded_load_fs_end, guarded_failed
    .quad guarded_load_gs, guarded_load_gs_end, guarded_failed
    .quad guarded_rdmsr_start, guarded_rdmsr_end, guarded_failed
    .quad guarded_wrmsr_start, guarded_wrmsr_end, guarded_failed
.global fixup_table_end
fixup_table_end:
.text
