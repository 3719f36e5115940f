//! Bouncing: turning an exception, a system call or an event into an entry of the guest's kernel.
//!
//! The frame goes to the guest kernel's stack, from high to low:
//!
//! ```text
//!   SS  RSP  RFLAGS  CS+mask  RIP  [error code]  R11  RCX  <- new RSP
//!   SS  RSP  RFLAGS  CS+mask  RIP  GS FS ES DS   R11  RCX  <- failsafe callback
//! ```
//!
//! CS carries RPL 0 when the guest's kernel was interrupted and 3 when its user was, and the upcall
//! mask that was in force in bits 32 to 39; IF in RFLAGS is the inverse of that mask. A frame that
//! cannot be written ends the domain: there is nobody left to tell.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::trap::{FLAT_RING3_CS64, FLAT_RING3_SS64};
use guest_abi::vcpu::CpuUserRegs;
use zerocopy::IntoBytes as _;

use super::flags;
use super::machine::Machine;
use super::state::{EntryState, is_callable};
use crate::arch::layout::is_off_limits;
use crate::effect::CrashReason;

/// `entry_vector` of a frame whose guest does not expect rcx and r11 back: exit may use SYSRET.
pub const VECTOR_SYSCALL: u32 = 0x100;
/// `entry_vector` of a SYSCALL from compatibility mode.
pub const VECTOR_SYSCALL32: u32 = 0x101;

/// The most words a frame has.
const MAX_WORDS: usize = 11;

/// What lies between R11 and RIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// The exception's error code.
    ErrorCode(u32),
    /// The data selectors, for the failsafe callback.
    Selectors,
}

/// An entry to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// Where the guest's kernel goes on.
    pub handler: GuestVirtAddr,
    /// Mask events first.
    pub masks_events: bool,
    /// What the frame carries besides the usual words.
    pub extra: Extra,
}

/// Enters the guest's kernel: toggles from user mode if need be, writes the frame, and points the
/// registers at the handler.
///
/// # Errors
/// The handler is not one, or the stack cannot take the frame. The vCPU is lost then.
pub fn deliver(
    bounce: Bounce,
    regs: &mut CpuUserRegs,
    entry: &EntryState,
    machine: &impl Machine,
) -> Result<(), CrashReason> {
    if !is_callable(bounce.handler) {
        return Err(CrashReason::BadState(
            "entry at an address no guest may execute",
        ));
    }
    let was_kernel = entry.in_kernel();
    let stack = if was_kernel {
        regs.rsp & !0xf
    } else {
        machine.toggle_mode(entry);
        entry.kernel_stack().1
    };
    let mask = machine.event_mask(entry);
    let (words, count) = frame(bounce.extra, regs, was_kernel, mask);
    let top = push(stack, words.get(..count).unwrap_or(&[]), machine)?;
    if bounce.masks_events {
        machine.set_event_mask(entry, 1);
    }

    regs.rip = bounce.handler.get();
    regs.cs = FLAT_RING3_CS64;
    regs.rsp = top;
    regs.ss = FLAT_RING3_SS64;
    regs.rflags = flags::sanitise(regs.rflags & !flags::CLEARED_FOR_HANDLER);
    regs.saved_upcall_mask = 0;
    // The handler pops rcx and r11 from its frame: exit need not restore them.
    regs.entry_vector = VECTOR_SYSCALL;
    Ok(())
}

/// The frame's words from low to high, and how many there are.
fn frame(
    extra: Extra,
    regs: &CpuUserRegs,
    was_kernel: bool,
    mask: u8,
) -> ([u64; MAX_WORDS], usize) {
    let rpl = if was_kernel { 0 } else { 3 };
    let cs = u64::from(regs.cs & !3 | rpl) | u64::from(mask) << 32;
    let ss = u64::from(regs.ss);
    let rflags = flags::shown(regs.rflags, mask != 0);
    let mut words = [0; MAX_WORDS];
    let mut count = 0;
    let mut add = |values: &[u64]| {
        for value in values {
            if let Some(slot) = words.get_mut(count) {
                *slot = *value;
                count += 1;
            }
        }
    };
    add(&[regs.rcx, regs.r11]);
    match extra {
        Extra::None => {}
        Extra::ErrorCode(code) => add(&[code.into()]),
        Extra::Selectors => add(&[regs.ds, regs.es, regs.fs, regs.gs].map(u64::from)),
    }
    add(&[regs.rip, cs, rflags, regs.rsp, ss]);
    (words, count)
}

/// Writes `words` below `stack`; the whole range is checked, not only its start (XSA-215).
fn push(stack: u64, words: &[u64], machine: &impl Machine) -> Result<u64, CrashReason> {
    let bad = CrashReason::BadStack { rsp: stack };
    let bytes = words.len() as u64 * 8;
    let top = stack.checked_sub(bytes).ok_or(bad)?;
    if is_off_limits(top, bytes) {
        return Err(bad);
    }
    machine
        .write(GuestVirtAddr::new(top), words.as_bytes())
        .map_err(|_| bad)?;
    Ok(top)
}

#[cfg(test)]
mod tests;
