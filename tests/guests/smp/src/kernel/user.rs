//! User code and what comes back from it.

extern crate alloc;

use alloc::vec;

use frontends::{
    events,
    guest_abi::{PAGE_SIZE, VcpuId, Virq},
    memory::Page,
    time,
    traps::{TrapFrame, VECTOR_EVENT, VECTOR_PAGE_FAULT, VECTOR_SYSCALL},
    user::{USER_BASE, UserMode, UserSpace},
};

const BOOT: VcpuId = VcpuId::new(0);
/// System calls in a row.
const CALLS: u64 = 2_000;
/// How long user code may spin before the timer takes it back.
const SPIN_NS: u64 = 2_000_000;

/// Where the stack's page ends: it follows the code's.
const STACK_TOP: u64 = USER_BASE + 2 * PAGE_SIZE as u64;

/// `1: inc rbx; syscall; jmp 1b`
const CALL_LOOP: [u8; 7] = [0x48, 0xff, 0xc3, 0x0f, 0x05, 0xeb, 0xf9];
/// `mov rax, [0]`
const TOUCH_NULL: [u8; 8] = [0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0];
/// `ud2`
const UNDEFINED: [u8; 2] = [0x0f, 0x0b];
/// `jmp .`
const SPIN: [u8; 2] = [0xeb, 0xfe];

/// Where each piece of code lies in the code page.
const CALL_LOOP_AT: u64 = USER_BASE;
const TOUCH_NULL_AT: u64 = USER_BASE + 0x100;
const UNDEFINED_AT: u64 = USER_BASE + 0x200;
const SPIN_AT: u64 = USER_BASE + 0x300;

/// Goes to user mode and back in each way there is.
pub(super) fn round_trips() -> Result<(), &'static str> {
    let mut user = space().ok_or("user address space")?;
    system_calls(&mut user)?;
    faults(&mut user)?;
    interrupted(&mut user)
}

/// An address space with the code page and a stack page.
fn space() -> Option<UserMode> {
    let code = Page::zeroed().ok()?;
    code.write(0, &CALL_LOOP);
    code.write(0x100, &TOUCH_NULL);
    code.write(0x200, &UNDEFINED);
    code.write(0x300, &SPIN);
    let stack = Page::zeroed().ok()?;
    UserMode::new(UserSpace::new(vec![code, stack]).ok()?).ok()
}

/// A context with a value of its own in each register a call preserves.
fn marked(user: &UserMode, rip: u64) -> TrapFrame {
    let mut context = user.context(rip, STACK_TOP);
    (context.rax, context.rdx, context.rsi, context.rdi) = (1, 2, 3, 4);
    (context.r8, context.r9, context.r10, context.rbp) = (5, 6, 7, 8);
    (context.r12, context.r13, context.r14, context.r15) = (9, 10, 11, 12);
    context
}

fn system_calls(user: &mut UserMode) -> Result<(), &'static str> {
    let mut context = marked(user, CALL_LOOP_AT);
    let before = context;
    for call in 1..=CALLS {
        user.run(&mut context);
        if context.vector != VECTOR_SYSCALL {
            return Err("a system call came as something else");
        }
        if context.rbx != call || context.rip != CALL_LOOP_AT + 5 || context.rsp != STACK_TOP {
            return Err("a system call returned to the wrong place");
        }
    }
    // These the instruction and the loop change; all else must have survived.
    let expected = TrapFrame {
        rbx: context.rbx,
        rcx: context.rcx,
        r11: context.r11,
        rip: context.rip,
        vector: context.vector,
        cs: context.cs,
        ss: context.ss,
        rflags: context.rflags,
        ..before
    };
    if context == expected {
        Ok(())
    } else {
        Err("a system call changed registers")
    }
}

fn faults(user: &mut UserMode) -> Result<(), &'static str> {
    let mut context = marked(user, TOUCH_NULL_AT);
    user.run(&mut context);
    if context.vector != VECTOR_PAGE_FAULT || context.rip != TOUCH_NULL_AT {
        return Err("a page fault of user code went astray");
    }
    // Bit 2: in user mode; bits 0 and 1 clear: not present, reading.
    if context.error_code != 4 {
        return Err("a page fault of user code has the wrong error code");
    }
    let mut context = marked(user, UNDEFINED_AT);
    user.run(&mut context);
    match (context.vector, context.rip) {
        (6, UNDEFINED_AT) => Ok(()),
        _ => Err("an undefined instruction went astray"),
    }
}

fn interrupted(user: &mut UserMode) -> Result<(), &'static str> {
    let port = events::bind_virq(Virq::Timer, BOOT).map_err(|_| "bind_virq")?;
    time::set_timer(BOOT, time::now(BOOT) + SPIN_NS).map_err(|_| "set_timer")?;
    let mut context = marked(user, SPIN_AT);
    user.run(&mut context);
    if context.vector != VECTOR_EVENT || context.rip != SPIN_AT || context.r15 != 12 {
        return Err("an event did not interrupt user code properly");
    }
    let mut fired = false;
    events::take(BOOT, |found| fired |= found == port);
    if fired {
        Ok(())
    } else {
        Err("the timer's event is not there")
    }
}
