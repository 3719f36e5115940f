//! Routing: what an exception of the guest comes to.
//!
//! | vector | first tried | otherwise |
//! | --- | --- | --- |
//! | #GP | privileged instruction, `int n` | the guest's handler |
//! | #UD | CPUID behind the emulation prefix | the guest's handler |
//! | #PF | stale translation, page-table write | the guest's handler, with CR2 |
//! | #NM | virtual TS off: nothing to do | TS cleared, the guest's handler |
//! | all others | | the guest's handler |
//!
//! A guest without a handler for what it raised cannot go on: its domain crashes.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::trap::EMULATE_PREFIX;

use super::bounce::{self, Bounce, Extra};
use super::emulate::{Emulator, Outcome, fetch};
use super::gpr::low32;
use super::machine::Machine;
use super::table::Gate;
use super::vector;
use super::writable_table::{self, Tables};
use super::{debugreg, decode, flags};
use crate::arch::layout::is_off_limits;
use crate::effect::CrashReason;

/// #GP error code: the fault came through an IDT gate.
const ERROR_IDT: u32 = 2;
/// #PF error code: the page was present.
const PF_PRESENT: u32 = 1;
/// #PF error code: the access was a write.
const PF_WRITE: u32 = 2;
/// #PF error code: the access came from user mode.
const PF_USER: u32 = 4;
/// DR6: what a guest is told (B0 to B3, BD, BS, BT).
const DR6_REPORTED: u64 = 0xe00f;
/// DR6: single step.
const DR6_SINGLE_STEP: u64 = 1 << 14;
/// Bytes of `int n`.
const INT_N_LENGTH: u64 = 2;
/// `cpuid`.
const CPUID: [u8; 2] = [0x0f, 0xa2];
/// Prefix and instruction together.
const FORCED_CPUID_LENGTH: u64 = (EMULATE_PREFIX.len() + CPUID.len()) as u64;

/// An exception as the processor reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector.
    pub vector: u8,
    /// Error code, 0 for vectors without one.
    pub error_code: u32,
    /// CR2 for #PF, DR6 for #DB.
    pub detail: u64,
}

/// Deals with an exception. `tables` is there if the domain asked for emulated page-table writes.
///
/// # Errors
/// The domain cannot go on.
pub fn handle<M: Machine>(
    exception: Exception,
    guest: &mut Emulator<'_, M>,
    tables: Option<&mut impl Tables>,
) -> Result<(), CrashReason> {
    match exception.vector {
        vector::GENERAL_PROTECTION => general_protection(exception, guest),
        vector::INVALID_OPCODE if forced_cpuid(guest) => Ok(()),
        vector::PAGE_FAULT => page_fault(exception, guest, tables),
        vector::DEVICE_NOT_AVAILABLE => device_not_available(exception, guest),
        vector::DEBUG => debug(exception.detail, guest),
        vector::LEGACY_SYSCALL => legacy_system_call(exception, guest),
        _ => raise(exception, guest),
    }
}

fn general_protection<M: Machine>(
    exception: Exception,
    guest: &mut Emulator<'_, M>,
) -> Result<(), CrashReason> {
    // A selector's fault is the guest's own. Of a refused gate only the flag is trusted: some
    // emulators report the wrong vector, so the instruction is decoded instead.
    if exception.error_code != 0 && exception.error_code & ERROR_IDT == 0 {
        return raise(exception, guest);
    }
    let single_step = guest.regs.rflags & flags::TF != 0;
    match guest.run() {
        Outcome::Retired if single_step => debug(DR6_SINGLE_STEP, guest),
        Outcome::Retired | Outcome::Repeat => Ok(()),
        Outcome::Interrupt(vector) => raise(
            Exception {
                vector,
                error_code: 0,
                detail: 0,
            },
            guest,
        ),
        Outcome::PageFault { address, write } => {
            let error_code = if write { PF_WRITE } else { 0 };
            let fault = Exception {
                vector: vector::PAGE_FAULT,
                error_code,
                detail: address,
            };
            raise_page_fault(fault, guest)
        }
        Outcome::Refused => raise(exception, guest),
    }
}

/// `ud2; "xen"; cpuid`.
fn forced_cpuid<M: Machine>(guest: &mut Emulator<'_, M>) -> bool {
    let mut bytes = [0; decode::MAX_LENGTH];
    let fetched = fetch(guest.machine, guest.regs.rip, &mut bytes);
    let is_forced = fetched
        .strip_prefix(&EMULATE_PREFIX)
        .is_some_and(|rest| rest.starts_with(&CPUID));
    if is_forced {
        guest.cpuid();
        guest.regs.rip = guest.regs.rip.wrapping_add(FORCED_CPUID_LENGTH);
        guest.regs.rflags &= !flags::RF;
    }
    is_forced
}

fn page_fault<M: Machine>(
    fault: Exception,
    guest: &mut Emulator<'_, M>,
    tables: Option<&mut impl Tables>,
) -> Result<(), CrashReason> {
    let address = GuestVirtAddr::new(fault.detail);
    if is_off_limits(address.get(), 1) {
        return raise_page_fault(fault, guest);
    }
    if guest
        .machine
        .is_spurious(guest.entry, address, fault.error_code)
    {
        return Ok(());
    }
    let is_table_write = fault.error_code & (PF_PRESENT | PF_WRITE) == PF_PRESENT | PF_WRITE
        && guest.entry.in_kernel();
    if is_table_write
        && let Some(tables) = tables
        && writable_table::emulate(address, guest.regs, guest.machine, tables)
    {
        return Ok(());
    }
    raise_page_fault(fault, guest)
}

/// Both modes of the guest run in ring 3: the error code's U bit tells the guest its own mode.
fn raise_page_fault<M: Machine>(
    fault: Exception,
    guest: &mut Emulator<'_, M>,
) -> Result<(), CrashReason> {
    let user = if guest.entry.in_kernel() { 0 } else { PF_USER };
    guest.machine.set_cr2(guest.entry, fault.detail);
    let error_code = fault.error_code & !PF_USER | user;
    raise(
        Exception {
            error_code,
            ..fault
        },
        guest,
    )
}

fn device_not_available<M: Machine>(
    exception: Exception,
    guest: &mut Emulator<'_, M>,
) -> Result<(), CrashReason> {
    guest.machine.set_task_switched(false);
    if !guest.context.task_switched {
        return Ok(());
    }
    guest.context.task_switched = false;
    raise(exception, guest)
}

/// `int 0x80`, whose gate is open to all code. A guest that has no handler for it sees what any
/// other `int n` would have come to.
fn legacy_system_call<M: Machine>(
    exception: Exception,
    guest: &mut Emulator<'_, M>,
) -> Result<(), CrashReason> {
    if guest.context.traps.gate(exception.vector).is_some() {
        return raise(exception, guest);
    }
    guest.regs.rip = guest.regs.rip.wrapping_sub(INT_N_LENGTH);
    let error_code = u32::from(exception.vector) << 3 | ERROR_IDT;
    let vector = vector::GENERAL_PROTECTION;
    raise(
        Exception {
            vector,
            error_code,
            detail: 0,
        },
        guest,
    )
}

fn debug<M: Machine>(dr6: u64, guest: &mut Emulator<'_, M>) -> Result<(), CrashReason> {
    let status = &mut guest.context.debug.dr6;
    *status = *status & !DR6_REPORTED | dr6 & DR6_REPORTED | debugreg::DR6_CLEAR;
    raise(
        Exception {
            vector: vector::DEBUG,
            error_code: 0,
            detail: dr6,
        },
        guest,
    )
}

/// Enters the guest's handler.
///
/// # Errors
/// There is none, or its frame cannot be written.
pub fn raise<M: Machine>(
    exception: Exception,
    guest: &mut Emulator<'_, M>,
) -> Result<(), CrashReason> {
    let Some(gate) = guest.context.traps.gate(exception.vector) else {
        return Err(CrashReason::UnhandledException {
            vector: exception.vector,
            rip: guest.regs.rip,
            address: exception.detail,
        });
    };
    let extra = if vector::has_error_code(exception.vector) {
        Extra::ErrorCode(exception.error_code)
    } else {
        Extra::None
    };
    bounce::deliver(
        gate_bounce(gate, extra),
        guest.regs,
        guest.entry,
        guest.machine,
    )
}

/// A guest's gate as an entry of its kernel.
const fn gate_bounce(gate: Gate, extra: Extra) -> Bounce {
    Bounce {
        handler: gate.address,
        masks_events: gate.masks_events,
        extra,
    }
}

/// An NMI for the guest: its handler runs until the next `iret`, and no other NMI comes meanwhile.
/// A guest without a handler does not notice it.
///
/// # Errors
/// The frame cannot be written.
pub fn raise_nmi<M: Machine>(guest: &mut Emulator<'_, M>) -> Result<(), CrashReason> {
    if guest.context.traps.gate(vector::NMI).is_none() {
        return Ok(());
    }
    guest.entry.set_in_nmi(true);
    raise(
        Exception {
            vector: vector::NMI,
            error_code: 0,
            detail: 0,
        },
        guest,
    )
}

/// The error code of the #GP of an `iret` that faulted, or any other fault of the way out.
pub fn from_frame(entry_vector: u32, error_code: u32, detail: u64) -> Exception {
    let vector = u8::try_from(low32(entry_vector.into())).unwrap_or(vector::INVALID_OPCODE);
    Exception {
        vector,
        error_code,
        detail,
    }
}

#[cfg(test)]
mod tests;
