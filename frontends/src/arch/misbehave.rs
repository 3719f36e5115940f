//! Ways to go wrong on purpose, for guests that test what happens then.

use core::arch::asm;

use guest_abi::{Hypercall, PAGE_SIZE, call, mmu::Pte};

use super::{bytes::pointer, hypercall, memory};

/// Reads memory that nobody has mapped.
pub fn touch_unmapped() {
    // SAFETY: none: the read faults, which is what it is for; it changes nothing.
    let _ = unsafe { pointer::<u8>(0xdead_0000).read_volatile() };
}

/// Takes back all exception handlers: the next exception is fatal.
pub fn forget_handlers() {
    // SAFETY: a null table clears the handlers; it breaks this domain only.
    let _ = unsafe { call::call(Hypercall::SetTrapTable, [0]) };
}

/// Unmaps the kernel's image from its end downward, the running code at last.
pub fn unmap_image() {
    let mut address = memory::VIRT_BASE + (16 << 20);
    while address > memory::VIRT_BASE {
        address -= PAGE_SIZE as u64;
        // SAFETY: none: the code and stack in use go away, which is what it is for.
        let _ = unsafe { hypercall::update_va_mapping(address, Pte::EMPTY) };
    }
}

/// Passes pointers that lead nowhere, into the hypervisor, or around the end of
/// the address space, to every hypercall that takes one first or second.
pub fn pass_wild_pointers() {
    const WILD: [u64; 6] = [
        1,
        0xdead_0000,
        0x8000_0000_0000_0000,
        0xffff_8000_0000_0000,
        0xffff_8300_0000_0000,
        u64::MAX - 7,
    ];
    // These do not come back, by design.
    let returns = |call: &Hypercall| {
        !matches!(
            call,
            Hypercall::Iret
                | Hypercall::StackSwitch
                | Hypercall::SchedOp
                | Hypercall::SchedOpCompat
                | Hypercall::VcpuOp
        )
    };
    for &hypercall in Hypercall::ALL.iter().filter(|call| returns(call)) {
        for pointer in WILD {
            // SAFETY: none: whatever the hypervisor makes of it may hit this domain.
            let _ = unsafe { call::raw(hypercall, [pointer, 1, pointer, pointer, 0]) };
            // SAFETY: as above.
            let _ = unsafe { call::raw(hypercall, [1, pointer, pointer, pointer, 0]) };
        }
    }
}

/// Faults where no exception frame can be pushed.
pub fn fault_without_stack() -> ! {
    // SAFETY: none: the domain ends here, by the hypervisor's hand.
    unsafe { asm!("mov rsp, 0x1000", "ud2", options(noreturn)) }
}

/// Makes a hypercall by its bare number, with whatever in all of its argument registers.
pub fn any_hypercall(number: u64, args: [u64; 6]) -> u64 {
    let [arg1, arg2, arg3, arg4, arg5, arg6] = args;
    let result: u64;
    // SAFETY: none: whatever the hypervisor makes of it may hit this domain.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, inlateout("rdi") arg1 => _,
            inlateout("rsi") arg2 => _, inlateout("rdx") arg3 => _, inlateout("r10") arg4 => _,
            inlateout("r8") arg5 => _, inlateout("r9") arg6 => _, lateout("rcx") _,
            lateout("r11") _);
    }
    result
}

/// Returns, by the `iret` hypercall, to the state that a frame of nine words describes.
pub fn return_to(frame: [u64; 9]) -> ! {
    // SAFETY: none: the domain ends there, or goes on wherever the frame says.
    unsafe {
        asm!("mov rsp, {frame}", "mov eax, 23", "syscall", "ud2",
            frame = in(reg) &raw const frame, options(noreturn))
    }
}
