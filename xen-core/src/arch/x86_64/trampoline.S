// Where a secondary CPU starts.
//
// smp.rs copies this page to physical TRAMPOLINE and fills the four words at its end.
//   in:   real mode, cs = TRAMPOLINE >> 4, after INIT and STARTUP
//   out:  ap_entry(rdi = ap_cpu) in long mode under ap_root with rsp = ap_stack
//   uses: everything

.set TRAMPOLINE, 0x8000

.section .trampoline, "a"
.balign 16
.global ap_trampoline
ap_trampoline:
.code16
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl (ap_gdt_pointer - ap_trampoline)
    movl $0x11, %eax
    movl %eax, %cr0
    ljmpl $0x08, $(TRAMPOLINE + ap_entry32 - ap_trampoline)

.code32
ap_entry32:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %ss
    movl $0xa0, %eax
    movl %eax, %cr4
    movl (TRAMPOLINE + ap_root - ap_trampoline), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80010033, %eax
    movl %eax, %cr0
    ljmp $0x18, $(TRAMPOLINE + ap_entry64 - ap_trampoline)

.code64
ap_entry64:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movq ap_stack(%rip), %rsp
    movq ap_cpu(%rip), %rdi
    movq ap_entry(%rip), %rax
    xorl %ebp, %ebp
    call *%rax
    ud2

.balign 8
ap_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00af9b000000ffff
ap_gdt_pointer:
    .word ap_gdt_pointer - ap_gdt - 1
    .long TRAMPOLINE + ap_gdt - ap_trampoline

.balign 8
.global ap_parameters
ap_parameters:
ap_root:    .quad 0
ap_stack:   .quad 0
ap_entry:   .quad 0
ap_cpu:     .quad 0
.global ap_trampoline_end
ap_trampoline_end:
