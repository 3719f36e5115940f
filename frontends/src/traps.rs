//! Exceptions: the trap table, the frame a trap leaves, and who looks at it.
//!
//! Every exception of kernel code goes to the one handler that the kernel has
//! set, and is fatal without one or if it declines. Traps of user code never
//! come here: they end the stay in user mode (see module `user`).

use core::fmt;

#[cfg(target_os = "none")]
use guest_abi::{
    GuestVirtAddr, Hypercall,
    callback::{CALLBACKF_MASK_EVENTS, CallbackOp, CallbackRegister, CallbackType},
    trap::{FLAT_RING3_CS64, TRAP_MASK_EVENTS, TrapInfo},
};
use spin::Once;

#[cfg(target_os = "none")]
use crate::arch::trap;

/// The pseudo vector of a system call.
pub const VECTOR_SYSCALL: u64 = 0x100;
/// The pseudo vector of an event that interrupted user code.
pub const VECTOR_EVENT: u64 = 0x101;
/// The pseudo vector of the failsafe callback.
pub(crate) const VECTOR_FAILSAFE: u64 = 0x102;

/// The vector of a page fault.
pub const VECTOR_PAGE_FAULT: u64 = 14;

/// What a trap interrupted: all registers, lowest address first.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the registers' names say all there is to say")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// The exception's vector, or one of the `VECTOR_` numbers above 255.
    pub vector: u64,
    /// The exception's error code, 0 if it has none.
    pub error_code: u64,
    pub rip: u64,
    /// The selector in bits 0-15, the interrupted event mask in bits 32-39.
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () = assert!(size_of::<TrapFrame>() == 22 * 8);

impl TrapFrame {
    /// Whether user code was interrupted.
    #[must_use]
    pub fn from_user(&self) -> bool {
        self.cs & 3 == 3
    }
}

impl fmt::Debug for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            vector,
            error_code,
            rip,
            cs,
            rflags,
            rsp,
            ss,
            ..
        } = self;
        writeln!(
            f,
            "vector {vector:#x} error {error_code:#x} flags {rflags:#x}"
        )?;
        writeln!(f, "rip {cs:x}:{rip:016x} rsp {ss:x}:{rsp:016x}")?;
        let Self {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rbp,
            ..
        } = self;
        writeln!(
            f,
            "rax {rax:016x} rbx {rbx:016x} rcx {rcx:016x} rdx {rdx:016x}"
        )?;
        writeln!(f, "rsi {rsi:016x} rdi {rdi:016x} rbp {rbp:016x}")?;
        let Self {
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            ..
        } = self;
        writeln!(
            f,
            "r8  {r8:016x} r9  {r9:016x} r10 {r10:016x} r11 {r11:016x}"
        )?;
        write!(
            f,
            "r12 {r12:016x} r13 {r13:016x} r14 {r14:016x} r15 {r15:016x}"
        )
    }
}

/// Looks at an exception of kernel code; `true` resumes the changed frame.
pub type Handler = fn(&mut TrapFrame) -> bool;

static HANDLER: Once<Handler> = Once::new();

/// Sets who looks at the kernel's own exceptions. The first call counts.
pub fn set_handler(handler: Handler) {
    HANDLER.call_once(|| handler);
}

/// The table of exception handlers, with its end mark.
#[cfg(target_os = "none")]
pub(crate) fn table() -> [TrapInfo; 33] {
    core::array::from_fn(|vector| match u8::try_from(vector) {
        Ok(vector @ 0..32) => TrapInfo {
            vector,
            flags: TRAP_MASK_EVENTS | user_dpl(vector),
            cs: FLAT_RING3_CS64,
            address: GuestVirtAddr::new(trap::stub_address(vector)),
            ..TrapInfo::default()
        },
        _ => TrapInfo::default(),
    })
}

/// User code may raise breakpoint and overflow by itself.
#[cfg(target_os = "none")]
fn user_dpl(vector: u8) -> u8 {
    if matches!(vector, 3 | 4) { 3 } else { 0 }
}

/// Registers handlers and callbacks for the boot virtual CPU.
///
/// # Panics
///
/// If the hypervisor refuses: then nothing can be caught or woken.
#[cfg(target_os = "none")]
pub(crate) fn install() {
    crate::arch::hypercall::install_traps(&table()).expect("set_trap_table");
    let callbacks = [
        (CallbackType::Event, trap::event_address()),
        (CallbackType::Failsafe, trap::failsafe_address()),
        (CallbackType::Syscall, trap::syscall_address()),
    ];
    for (kind, address) in callbacks {
        let mut arg = CallbackRegister {
            kind: kind.number(),
            flags: CALLBACKF_MASK_EVENTS,
            address: GuestVirtAddr::new(address),
            ..CallbackRegister::default()
        };
        let op = CallbackOp::Register.number();
        crate::arch::hypercall::command(Hypercall::CallbackOp, op, &mut arg).expect("callback_op");
    }
}

/// Called for every trap of kernel code.
///
/// # Panics
///
/// If no handler wants the trap: the kernel is broken.
pub(crate) fn dispatch(frame: &mut TrapFrame) {
    if HANDLER.get().is_some_and(|handler| handler(frame)) {
        return;
    }
    panic!(
        "unexpected trap, cr2 {:#x}\n{frame:?}",
        crate::arch::shared::fault_address()
    );
}
