//! The page of hypercall stubs that some kernels ask for: 32 bytes a hypercall.

use guest_abi::PAGE_SIZE;

const STUB: usize = 32;
/// How many numbers there are.
const NUMBERS: u8 = 64;
/// The number of `iret`, which never comes back.
const IRET: u8 = 23;
/// A breakpoint: what is between the stubs must not run.
const INT3: u8 = 0xcc;

/// The page's bytes.
pub(super) fn contents() -> [u8; PAGE_SIZE] {
    let mut page = [INT3; PAGE_SIZE];
    for (number, slot) in (0..NUMBERS).zip(page.chunks_exact_mut(STUB)) {
        // push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
        let plain = [
            0x51, 0x41, 0x53, 0xb8, number, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3,
        ];
        // push rcx; push r11; push rax; mov eax, number; syscall
        let iret = [0x51, 0x41, 0x53, 0x50, 0xb8, number, 0, 0, 0, 0x0f, 0x05];
        let stub: &[u8] = if number == IRET { &iret } else { &plain };
        for (to, from) in slot.iter_mut().zip(stub) {
            *to = *from;
        }
    }
    page
}
