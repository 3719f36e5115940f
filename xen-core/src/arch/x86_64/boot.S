// From the loader to Rust.
//
// boot_entry32 is entered by a Multiboot 1 or 2 loader, which find a machine alike:
//   in:   32-bit protected mode, paging off, interrupts off, eax = the protocol's magic,
//         ebx = physical address of the multiboot information
//   out:  boot_start(rdi = that address, esi = the magic) in long mode at the linked address, on boot_stack, under
//         early tables that map the low 4 GiB at 0 and in the direct map, and the image
//   uses: everything
//
// The flat image carries no ELF headers, so the address fields of the multiboot header say where
// it goes. load_end and bss_end are zero: all of the file is loaded, and it holds .bss and the
// symbol table, too. Multiboot 2 wants its header in the first 32 KiB, and each of its tags at a
// multiple of 8; under EFI, a loader that finds no other entry takes this one, without the
// firmware's boot services.

.set IMAGE_OFFSET, 0xffff82d080000000
.set MULTIBOOT_MAGIC, 0x1badb002
.set MULTIBOOT_FLAGS, 0x00010003
.set MULTIBOOT2_MAGIC, 0xe85250d6
.set MULTIBOOT2_LENGTH, multiboot2_end - multiboot2_header
.set COM1, 0x3f8

.section .boot.header, "a"
.balign 8
multiboot_header:
    .long MULTIBOOT_MAGIC
    .long MULTIBOOT_FLAGS
    .long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
    .long multiboot_header - IMAGE_OFFSET
    .long __image_start - IMAGE_OFFSET
    .long 0
    .long 0
    .long boot_entry32 - IMAGE_OFFSET

.balign 8
multiboot2_header:
    .long MULTIBOOT2_MAGIC
    .long 0
    .long MULTIBOOT2_LENGTH
    .long -(MULTIBOOT2_MAGIC + MULTIBOOT2_LENGTH)
    // Where it goes.
    .short 2, 0
    .long 24
    .long multiboot2_header - IMAGE_OFFSET
    .long __image_start - IMAGE_OFFSET
    .long 0
    .long 0
    // Where it is entered.
    .short 3, 0
    .long 12
    .long boot_entry32 - IMAGE_OFFSET
    .balign 8
    // Modules at page boundaries.
    .short 6, 0
    .long 8
    .short 0, 0
    .long 8
multiboot2_end:

.section .boot.text, "ax"
.code32
.global boot_entry32
boot_entry32:
    cli
    cld
    movl $(boot_stack_top - IMAGE_OFFSET), %esp
    movl $(no_loader - IMAGE_OFFSET), %esi
    cmpl $0x2badb002, %eax
    je 0f
    cmpl $0x36d76289, %eax
    jne give_up
0:  movl %ebx, %edi
    movl %eax, %ebp

    // Long mode (bit 29), NX (20) and SYSCALL (11) are what the core cannot do without.
    movl $(no_long_mode - IMAGE_OFFSET), %esi
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb give_up
    movl $0x80000001, %eax
    cpuid
    andl $((1 << 29) | (1 << 20) | (1 << 11)), %edx
    cmpl $((1 << 29) | (1 << 20) | (1 << 11)), %edx
    jne give_up

    // Four level-2 tables: 2 MiB pages over the low 4 GiB, present and writable.
    movl $0x83, %eax
    xorl %ecx, %ecx
1:  movl %eax, (boot_l2 - IMAGE_OFFSET)(,%ecx,8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jne 1b

    // boot_l3 serves slot 0 and the direct map's slot 262, boot_l3_image slot 261, of whose
    // entries number 322 holds the image's first GiB.
    movl $(boot_l2 - IMAGE_OFFSET + 3), %eax
    movl %eax, (boot_l3_image - IMAGE_OFFSET + 322 * 8)
    xorl %ecx, %ecx
2:  movl %eax, (boot_l3 - IMAGE_OFFSET)(,%ecx,8)
    addl $0x1000, %eax
    incl %ecx
    cmpl $4, %ecx
    jne 2b
    movl $(boot_l3 - IMAGE_OFFSET + 3), %eax
    movl %eax, (boot_l4 - IMAGE_OFFSET)
    movl %eax, (boot_l4 - IMAGE_OFFSET + 262 * 8)
    movl $(boot_l3_image - IMAGE_OFFSET + 3), %eax
    movl %eax, (boot_l4 - IMAGE_OFFSET + 261 * 8)

    // CR4.PAE and PGE; EFER.LME, NXE and SCE; CR0.PG, WP, NE, MP, PE.
    movl $0xa0, %eax
    movl %eax, %cr4
    movl $(boot_l4 - IMAGE_OFFSET), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80010033, %eax
    movl %eax, %cr0
    lgdt (boot_gdt_pointer - IMAGE_OFFSET)
    ljmp $0x08, $(boot_entry64 - IMAGE_OFFSET)

// in: esi = physical address of a zero-terminated message
give_up:
    movb (%esi), %al
    testb %al, %al
    jz 3f
    movw $COM1, %dx
    outb %al, %dx
    incl %esi
    jmp give_up
3:  hlt
    jmp 3b

.code64
boot_entry64:
    movabsq $4f, %rax
    jmp *%rax
4:  xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    leaq boot_stack_top(%rip), %rsp
    movl %edi, %edi
    movl %ebp, %esi
    xorl %ebp, %ebp
    call boot_start
    ud2

// Not among the instructions, so that a disassembly shows what is executed.
.section .rodata.boot, "a"
no_loader:
    .asciz "Radon: not started by a Multiboot loader\r\n"
no_long_mode:
    .asciz "Radon: this CPU lacks long mode, NX or SYSCALL\r\n"

.balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
boot_gdt_pointer:
    .word boot_gdt_pointer - boot_gdt - 1
    .long boot_gdt - IMAGE_OFFSET

.section .bss.boot, "aw", @nobits
.balign 4096
.global boot_l4
boot_l4:        .skip 4096
boot_l3:        .skip 4096
boot_l3_image:  .skip 4096
boot_l2:        .skip 4 * 4096
// What the loader said is parsed on this stack, a few copies of it at a time: some 80 KiB. The
// lowest page is never reached; start.rs looks whether it was, for the tables above would suffer.
.global boot_stack
boot_stack:     .skip 32 * 4096
boot_stack_top:
