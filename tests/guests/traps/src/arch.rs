//! Single instructions that may fault, with a way to go on.
//!
//! Each attempt stores where to resume in [`RESUME`] and executes its instruction. The exception
//! handler notes what came and resumes there.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use frontends::traps::TrapFrame;
use guest_abi::hypercall::Hypercall;

/// Where to go on after an exception (0 when none is expected), and the stack pointer there.
static RESUME: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// Vector of the last exception, plus one; 0 for none.
static VECTOR: AtomicU64 = AtomicU64::new(0);
static ERROR_CODE: AtomicU64 = AtomicU64::new(0);

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It executed.
    Done,
    /// It raised this vector with this error code.
    Fault(u64, u64),
}

/// Notes an expected exception and resumes behind the instruction that raised it.
pub(crate) fn on_trap(frame: &mut TrapFrame) -> bool {
    let resume = RESUME[0].swap(0, Ordering::SeqCst);
    if resume == 0 {
        return false;
    }
    VECTOR.store(frame.vector + 1, Ordering::SeqCst);
    ERROR_CODE.store(frame.error_code, Ordering::SeqCst);
    frame.rip = resume;
    // A failed return shows the selectors that it failed for.
    frame.cs = frame.cs & !0xffff | 0xe030;
    frame.ss = 0xe02b;
    true
}

/// What the attempt that just ended came to.
pub(crate) fn outcome() -> Outcome {
    RESUME[0].store(0, Ordering::SeqCst);
    match VECTOR.swap(0, Ordering::SeqCst) {
        0 => Outcome::Done,
        vector => Outcome::Fault(vector - 1, ERROR_CODE.load(Ordering::SeqCst)),
    }
}

/// Executes instructions that touch only rax, rcx and rdx.
macro_rules! attempt {
    ($($line:literal),+ ; $rax:expr, $rcx:expr, $rdx:expr) => {{
        // SAFETY: the point of this guest; whatever faults resumes at the end.
        unsafe {
            asm!(
                "lea {resume}, [rip + 99f]",
                "mov [{slot}], {resume}",
                "mov [{slot} + 8], rsp",
                $($line,)+
                "99:",
                "mov rsp, [{slot} + 8]",
                resume = out(reg) _,
                slot = in(reg) RESUME[0].as_ptr(),
                inout("rax") $rax => _, inout("rcx") $rcx => _, inout("rdx") $rdx => _,
                out("r11") _,
            );
        }
        outcome()
    }};
}

/// `wrmsr`.
pub(crate) fn write_msr(number: u32, value: u64) -> Outcome {
    attempt!("wrmsr"; value, u64::from(number), value >> 32)
}

/// `rdmsr`.
pub(crate) fn read_msr(number: u32) -> Outcome {
    attempt!("rdmsr"; 0u64, u64::from(number), 0u64)
}

/// `hlt`.
pub(crate) fn halt() -> Outcome {
    attempt!("hlt"; 0u64, 0u64, 0u64)
}

/// `cli; sti`.
pub(crate) fn clear_interrupts() -> Outcome {
    attempt!("cli", "sti"; 0u64, 0u64, 0u64)
}

/// `xsetbv`.
pub(crate) fn set_xcr0() -> Outcome {
    attempt!("xsetbv"; 3u64, 0u64, 0u64)
}

/// `lgdt` of nothing.
pub(crate) fn load_gdt() -> Outcome {
    attempt!("lgdt [rsp]"; 0u64, 0u64, 0u64)
}

/// `mov cr3`.
pub(crate) fn write_cr3(value: u64) -> Outcome {
    attempt!("mov cr3, rax"; value, 0u64, 0u64)
}

/// `mov cr4`.
pub(crate) fn write_cr4(value: u64) -> Outcome {
    attempt!("mov cr4, rax"; value, 0u64, 0u64)
}

/// `mov dr0`.
pub(crate) fn write_dr0(value: u64) -> Outcome {
    attempt!("mov dr0, rax"; value, 0u64, 0u64)
}

/// `mov ds`.
pub(crate) fn load_ds(selector: u16) -> Outcome {
    attempt!("mov ds, eax"; u64::from(selector), 0u64, 0u64)
}

/// A byte read.
pub(crate) fn read_byte(address: u64) -> Outcome {
    attempt!("mov al, [rax]"; address, 0u64, 0u64)
}

/// A byte write.
pub(crate) fn write_byte(address: u64) -> Outcome {
    attempt!("mov byte ptr [rax], 0"; address, 0u64, 0u64)
}

/// A jump. The fault's frame lies on the stack that is in use, so the stack is as at the jump.
pub(crate) fn jump(address: u64) -> Outcome {
    attempt!("jmp rax"; address, 0u64, 0u64)
}

/// `mov ss` of a good selector, then a hypercall in its shadow.
pub(crate) fn mov_ss_hypercall() -> Outcome {
    attempt!("mov eax, ss", "mov ecx, eax", "mov eax, 17", "push rdi", "push rsi", "xor edi, edi",
        "xor esi, esi", "mov ss, ecx", "syscall", "pop rsi", "pop rdi"; 0u64, 0u64, 0u64)
}

/// `int n`, patched into a page of code.
pub(crate) fn software_interrupt(vector: u8) -> Outcome {
    static CODE: [AtomicU64; 1] = [AtomicU64::new(0)];
    // int n; ret: the low three bytes.
    let code = 0xc300cd | u64::from(vector) << 8;
    CODE[0].store(code, Ordering::SeqCst);
    attempt!("call rax"; CODE.as_ptr() as u64, 0u64, 0u64)
}

/// The `iret` hypercall with a frame of the caller's choice; the stack stays the same unless the
/// frame names another. RFLAGS after it, if it arrives.
pub(crate) fn iret(rip: Option<u64>, cs: u64, ss: u64, rflags: u64) -> (Outcome, u64) {
    let flags: u64;
    // SAFETY: the point of this guest; a fault resumes at the end, with the stack of the frame.
    unsafe {
        asm!(
            "lea {resume}, [rip + 99f]",
            "mov [{slot}], {resume}",
            "test {rip}, {rip}",
            "cmovz {rip}, {resume}",
            "mov {resume}, rsp",
            "push {ss}",
            "push {resume}",
            "push {flags}",
            "push {cs}",
            "push {rip}",
            "push 0", "push 0", "push 0", "push 0",
            "mov eax, 23",
            "syscall",
            "99:",
            "pushfq",
            "pop {flags}",
            "push 0x202",
            "popfq",
            resume = out(reg) _,
            slot = in(reg) RESUME[0].as_ptr(),
            rip = inout(reg) rip.unwrap_or(0) => _,
            cs = in(reg) cs,
            ss = in(reg) ss,
            flags = inout(reg) rflags => flags,
            out("rax") _, out("rcx") _, out("r11") _,
        );
    }
    (outcome(), flags)
}

/// A hypercall with any arguments.
pub(crate) fn hypercall(call: Hypercall, args: [u64; 5]) -> i64 {
    // SAFETY: the point of this guest: calls that are refused touch nothing.
    unsafe { guest_abi::call::raw(call, args) }
}
