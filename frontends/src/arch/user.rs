//! Into user mode and back out of it.
//!
//! `user_enter` leaves the kernel's callee-saved registers on its own stack and
//! resumes a user frame. Whatever brings the virtual CPU back (system call,
//! exception, event) arrives on the *trap stack*, whose top holds the address
//! of the `Run` under way: `leave` copies the frame there and returns to
//! the caller of `enter`, as from an ordinary call.

use alloc::boxed::Box;
use core::{
    arch::global_asm,
    cell::UnsafeCell,
    sync::atomic::{AtomicPtr, Ordering},
};

use guest_abi::{
    Errno, GuestVirtAddr, Hypercall,
    callback::{CALLBACKF_MASK_EVENTS, CallbackOp, CallbackRegister, CallbackType},
    trap::{FLAT_RING3_CS64, FLAT_RING3_SS64},
};

use super::bytes::pointer;
pub use super::page_table::{USER_BASE, UserSpace};
use crate::traps::TrapFrame;

/// A stay in user mode.
#[repr(C)]
struct Run {
    /// The kernel's stack pointer, written by `user_enter`.
    kernel_rsp: u64,
    /// The user context: on the way in and, changed, on the way out.
    frame: TrapFrame,
}

// user_enter: rdi = Run. Returns when user_leave is called for the same Run.
//   clobbers what a C call may; everything else is on the stack meanwhile
// user_leave: rdi = Run. Never returns to its own caller.
global_asm!(
    ".pushsection .text, \"ax\", @progbits",
    // Rust code in other codegen units names them.
    ".global user_enter, user_leave",
    "user_enter:",
    "    push rbp", "    push rbx", "    push r12", "    push r13", "    push r14", "    push r15",
    "    mov [rdi], rsp",
    "    lea rsi, [rdi + 8]",
    // The return path pushes over the frame it reads, so it works on a copy.
    "    sub rsp, {frame_size}",
    "    mov rdi, rsp",
    "    mov ecx, {frame_size} / 8",
    "    rep movsq",
    "    mov rdi, rsp",
    "    jmp trap_return",
    "user_leave:",
    "    mov rsp, [rdi]",
    "    pop r15", "    pop r14", "    pop r13", "    pop r12", "    pop rbx", "    pop rbp",
    "    ret",
    ".popsection",
    frame_size = const size_of::<TrapFrame>(),
);

unsafe extern "C" {
    fn user_enter(run: *mut Run);
    fn user_leave(run: *mut Run) -> !;
}

/// Bytes of a trap stack.
const TRAP_STACK: usize = 16 * 1024;

/// The stack on which user mode comes back to the kernel.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct TrapStack {
    /// Written by the CPU and by what runs on the stack.
    space: UnsafeCell<[u8; TRAP_STACK - 16]>,
    /// The stay under way: what `leave` finds above the frame.
    run: AtomicPtr<Run>,
    _pad: u64,
}

impl TrapStack {
    /// An unused stack.
    pub(crate) const fn new() -> Self {
        Self {
            space: UnsafeCell::new([0; TRAP_STACK - 16]),
            run: AtomicPtr::new(core::ptr::null_mut()),
            _pad: 0,
        }
    }

    /// What the hypervisor has to load into RSP on the way from user mode.
    pub(crate) fn top(&self) -> u64 {
        (&raw const self.run).expose_provenance() as u64
    }
}

/// Resumes `frame` in user mode; returns when it comes back, with the context
/// it left in `frame`.
///
/// # Safety
///
/// 1. `stack` is the one registered with `stack_switch` for this virtual CPU.
/// 2. The user root is loaded, and it does not map the kernel's memory.
/// 3. `frame` is a user frame (CS with RPL 3).
unsafe fn enter(stack: &TrapStack, frame: &mut TrapFrame) {
    let mut run = Run {
        kernel_rsp: 0,
        frame: *frame,
    };
    stack.run.store(&raw mut run, Ordering::Release);
    // SAFETY: `run` lives until this returns, and only `leave` uses it meanwhile;
    // the rest is the caller's promise.
    unsafe { user_enter(&raw mut run) };
    stack.run.store(core::ptr::null_mut(), Ordering::Release);
    *frame = run.frame;
}

/// Ends the stay in user mode that brought `frame` to the top of its trap stack.
pub(super) fn leave(frame: &TrapFrame) -> ! {
    let above = core::ptr::from_ref(frame).addr() + size_of::<TrapFrame>();
    let stay: *const AtomicPtr<Run> = pointer(above as u64);
    // SAFETY: a frame from user mode lies at the top of the trap stack, right
    // below the pointer that `enter` stored.
    let run = unsafe { &*stay }.load(Ordering::Acquire);
    // SAFETY: `enter` still waits in `user_enter`, so its `Run` is alive.
    unsafe { (*run).frame = *frame };
    // SAFETY: as above; the frames between are plain data that nobody drops.
    unsafe { user_leave(run) }
}

/// A virtual CPU's way into user mode.
#[derive(Debug)]
pub struct UserMode {
    space: UserSpace,
    stack: Box<TrapStack>,
}

impl UserMode {
    /// Makes `space` the user side of the calling vCPU.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn new(space: UserSpace) -> Result<Self, Errno> {
        let stack = Box::new(TrapStack::new());
        space.load()?;
        let args = [u64::from(FLAT_RING3_SS64), stack.top()];
        // SAFETY: the stack is used by traps from user mode only, and those
        // happen in `run` only, while this is alive.
        unsafe { guest_abi::call::call(Hypercall::StackSwitch, args) }?;
        let mut callback = CallbackRegister {
            kind: CallbackType::Syscall.number(),
            flags: CALLBACKF_MASK_EVENTS,
            address: GuestVirtAddr::new(super::trap::syscall_address()),
            ..CallbackRegister::default()
        };
        let op = CallbackOp::Register.number();
        super::hypercall::command(Hypercall::CallbackOp, op, &mut callback)?;
        Ok(Self { space, stack })
    }

    /// A user context that starts at `rip` with a stack pointer.
    #[must_use]
    pub fn context(&self, rip: u64, rsp: u64) -> TrapFrame {
        TrapFrame {
            rip,
            rsp,
            cs: u64::from(FLAT_RING3_CS64),
            ss: u64::from(FLAT_RING3_SS64),
            // Interrupts on: events reach the kernel while user code runs.
            rflags: 0x202,
            ..TrapFrame::default()
        }
    }

    /// Runs user code until it comes back: by a system call, an exception or an
    /// event. `context.vector` says which; its registers are those it left.
    ///
    /// The selectors are forced to those of user mode.
    pub fn run(&mut self, context: &mut TrapFrame) {
        context.cs = u64::from(FLAT_RING3_CS64);
        context.ss = u64::from(FLAT_RING3_SS64);
        // SAFETY: (1) `new` has registered the stack, and a `UserMode` stays on
        // its vCPU; (2) `new` has loaded the root, which maps user pages only;
        // (3) the selectors were just set.
        unsafe { enter(&self.stack, context) };
    }

    /// The address space.
    #[must_use]
    pub fn space(&self) -> &UserSpace {
        &self.space
    }
}
