//! The first instructions: ELF notes for the builder, the entry point, the stack.

use core::arch::global_asm;

use guest_abi::{VcpuId, mmu::Pte, start_info::StartInfo, vcpu::VcpuOp};
use spin::Once;

use super::{memory, shared};
use crate::start::StartOfDay;

/// Bytes of the boot virtual CPU's stack.
const STACK_SIZE: usize = 128 * 1024;

// The notes tell the domain builder what this kernel expects (public headers:
// elfnote.h). Each is: name length, descriptor length, type, "Xen\0", value.
// INIT_P2M is left out: the p2m list then lies inside the initial mapping.
global_asm!(
    ".macro xen_note type:req, value:vararg",
    "    .balign 4",
    "    .long 4, 2f - 1f, \\type",
    "    .asciz \"Xen\"",
    "1:  \\value",
    "2:  .balign 4",
    ".endm",
    ".pushsection .note.Xen, \"a\", @note",
    "xen_note 1, .quad _start",             // ENTRY
    "xen_note 3, .quad 0xffffffff80000000", // VIRT_BASE
    "xen_note 4, .quad 0",                  // PADDR_OFFSET
    "xen_note 5, .asciz \"xen-3.0\"",       // XEN_VERSION
    "xen_note 6, .asciz \"radon\"",         // GUEST_OS
    "xen_note 7, .asciz \"0.1\"",           // GUEST_VERSION
    "xen_note 8, .asciz \"generic\"",       // LOADER
    "xen_note 10, .asciz \"!writable_page_tables|pae_pgdir_above_4gb\"", // FEATURES
    "xen_note 13, .quad 1, 1",              // L1_MFN_VALID: mask, value
    "xen_note 14, .long 0",                 // SUSPEND_CANCEL
    "xen_note 17, .long 0x801",             // SUPPORTED_FEATURES: may be dom0
    ".popsection",
);

// _start: entered by the hypervisor in kernel mode, with events masked.
//   in:  rsi = start_info page, rsp = top of the builder's boot stack
//   out: rdi = start_info page, rsi = the builder's stack, on our own stack
global_asm!(
    ".pushsection .text.start, \"ax\", @progbits",
    ".global _start",
    "_start:",
    "    cld",
    "    mov rdi, rsi",
    "    mov rsi, rsp",
    "    lea rsp, [rip + {stack} + {stack_size}]",
    "    xor ebp, ebp",
    "    call {start}",
    "    ud2",
    ".popsection",
    stack = sym BOOT_STACK,
    stack_size = const STACK_SIZE,
    start = sym start,
);

#[repr(C, align(4096))]
struct Stack([u8; STACK_SIZE]);

/// Written by the CPU only, through `rsp`.
static mut BOOT_STACK: Stack = Stack([0; STACK_SIZE]);

unsafe extern "Rust" {
    /// The kernel proper, defined by [`entry!`](crate::entry).
    safe fn guest_main(start: &'static StartOfDay) -> !;
}

static START: Once<StartOfDay> = Once::new();

/// From the first Rust instruction to the kernel proper.
///
/// # Safety
///
/// Called by `_start` with what the hypervisor passed.
unsafe extern "C" fn start(info: *const StartInfo, boot_stack: u64) -> ! {
    // SAFETY: the builder has filled in the page; a copy is taken before anything changes.
    let info = unsafe { info.as_ref_unchecked() };
    if shared::map(info.shared_info_mfn()).is_err() {
        // Nothing works without it, the console included.
        crate::sched::shutdown(guest_abi::sched::ShutdownReason::Crash);
    }
    guard_stack();
    crate::events::init();
    crate::traps::install();
    // SAFETY: this is the one call, with what the builder passed.
    unsafe { memory::init(info, boot_stack) };
    crate::console::init(info);
    // The periodic tick is on at the start; nobody here wants it.
    let _ = super::hypercall::vcpu_op_bare(VcpuOp::StopPeriodicTimer, VcpuId::new(0));

    guest_main(START.call_once(|| StartOfDay::new(info)))
}

/// Unmaps the lowest page of the stack, so that an overflow ends the domain
/// instead of eating into the image below.
fn guard_stack() {
    let lowest = (&raw const BOOT_STACK).addr() as u64;
    // SAFETY: the page is part of the stack, and nothing has come down that far.
    // If it is refused, the stack has no guard; nothing else depends on it.
    let _ = unsafe { super::hypercall::update_va_mapping(lowest, Pte::EMPTY) };
}

/// Tells what is wrong, then ends the domain as crashed.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::console::emergency(format_args!("\nPANIC: {info}\n"));
    crate::sched::shutdown(guest_abi::sched::ShutdownReason::Crash)
}
