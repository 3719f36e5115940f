//! Emulated writes to page tables ("ptwr").
//!
//! A guest's kernel may write to its L1 tables as if they were ordinary memory: the write faults,
//! because tables in use are mapped read-only, and is done here as the validated update it stands
//! for. Read-modify-write instructions are a compare-exchange on the real entry, so that accessed
//! and dirty bits which the processor sets meanwhile are not lost.
//!
//! Only whole, naturally aligned operands inside the faulted page count. What is refused goes back
//! to the guest as the page fault it was.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::vcpu::CpuUserRegs;

use super::decode::{
    CodeSize, MAX_LENGTH, Memory, Operand, Operation, Reg, Rep, Width, Write, decode,
};
use super::emulate::{fetch, linear};
use super::machine::Machine;
use super::{flags, gpr, rmw};

/// How often a lost race is tried again before the guest executes the instruction anew.
const ATTEMPTS: u32 = 16;

/// The guest's tables, as far as this needs them.
pub trait Tables {
    /// A table entry.
    type Slot: Copy;

    /// The entry that lies at `address` of the guest kernel's address space, if that is a
    /// read-only mapping of one of the domain's L1 tables in use.
    fn entry_at(&mut self, address: GuestVirtAddr) -> Option<Self::Slot>;

    /// The entry's value.
    fn load(&mut self, slot: Self::Slot) -> Option<u64>;

    /// Validates `new` and puts it in place of `old`. Answers with the value found, or `None` when
    /// the new entry is refused.
    fn compare_exchange(&mut self, slot: Self::Slot, old: u64, new: u64) -> Option<u64>;
}

/// Emulates the write at RIP that faulted at `fault`. Says whether the guest may go on; otherwise
/// it gets the page fault.
pub fn emulate<T: Tables>(
    fault: GuestVirtAddr,
    regs: &mut CpuUserRegs,
    machine: &impl Machine,
    tables: &mut T,
) -> bool {
    let Some(slot) = tables.entry_at(fault) else {
        return false;
    };
    let mut bytes = [0; MAX_LENGTH];
    let Ok(instruction) = decode(fetch(machine, regs.rip, &mut bytes), CodeSize::Bits64) else {
        return false;
    };
    let Operation::Write(write) = instruction.operation else {
        return false;
    };
    let next_rip = regs.rip.wrapping_add(instruction.length.into());
    if destination(write, next_rip, regs, machine) != Some(fault.get()) {
        return false;
    }
    let Some(loaded) = string_source(write, regs, machine) else {
        return false;
    };
    match execute(write, slot, fault, loaded, regs, tables) {
        Some(effect) => retire(write, effect, next_rip, regs),
        None => return false,
    }
    true
}

/// The address written, if it is one operand within one table entry.
fn destination(
    write: Write,
    next_rip: u64,
    regs: &CpuUserRegs,
    machine: &impl Machine,
) -> Option<u64> {
    let address = linear(write.memory(), next_rip, regs, machine);
    let address = match write {
        // A bit offset in a register reaches beyond the operand, in either direction (XSA-195).
        Write::Bit(_, _, width, Operand::Register(offset)) => {
            let offset = sign_extend(gpr::operand(regs, offset), width);
            let step = offset
                .div_euclid(i64::from(width.bits()))
                .wrapping_mul(bytes_of(width));
            address.wrapping_add_signed(step)
        }
        _ => address,
    };
    let is_repeated_none = repeats(write) && regs.rcx == 0;
    (address.is_multiple_of(write.width().bytes()) && !is_repeated_none).then_some(address)
}

fn bytes_of(width: Width) -> i64 {
    width.bytes().cast_signed()
}

fn sign_extend(value: u64, width: Width) -> i64 {
    let shift = 64 - width.bits();
    (value << shift).cast_signed() >> shift
}

/// What `movs` reads; 0 for all others.
fn string_source(write: Write, regs: &CpuUserRegs, machine: &impl Machine) -> Option<u64> {
    let Write::Movs(_, source, width, _) = write else {
        return Some(0);
    };
    let mut bytes = [0; 8];
    let size = usize::try_from(width.bytes()).ok()?;
    let at = GuestVirtAddr::new(linear(source, 0, regs, machine));
    machine.read(at, bytes.get_mut(..size)?).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Does the write; `None` when the entry that would result is refused.
fn execute<T: Tables>(
    write: Write,
    slot: T::Slot,
    fault: GuestVirtAddr,
    loaded: u64,
    regs: &CpuUserRegs,
    tables: &mut T,
) -> Option<Option<rmw::Effect>> {
    let shift = (fault.get() & 7) * 8;
    let mask = write.width().mask() << shift;
    let mut entry = tables.load(slot)?;
    for _ in 0..ATTEMPTS {
        let effect = rmw::apply(write, (entry & mask) >> shift, loaded, regs);
        let Some(value) = effect.memory else {
            return Some(Some(effect));
        };
        let new = entry & !mask | value << shift & mask;
        let found = tables.compare_exchange(slot, entry, new)?;
        if found == entry {
            return Some(Some(effect));
        }
        entry = found;
    }
    // Another CPU changes the entry all the time: let the guest execute the instruction again.
    Some(None)
}

/// Moves the registers on, if the write was done.
fn retire(write: Write, effect: Option<rmw::Effect>, next_rip: u64, regs: &mut CpuUserRegs) {
    let Some(effect) = effect else {
        return;
    };
    if let Some((register, value)) = effect.register {
        gpr::set_operand(regs, register, value);
    }
    if let Some(bits) = effect.flags {
        regs.rflags = regs.rflags & !flags::ARITHMETIC | bits;
    }
    if let Write::Stos(to, ..) = write {
        advance(regs, Reg::RDI, to, write.width());
    }
    if let Write::Movs(to, from, ..) = write {
        advance(regs, Reg::RDI, to, write.width());
        advance(regs, Reg::RSI, from, write.width());
    }
    regs.rflags &= !flags::RF;
    if repeats(write) {
        // One element a fault: the next one faults again, or is ordinary memory.
        regs.rcx = regs.rcx.wrapping_sub(1);
        if regs.rcx != 0 {
            return;
        }
    }
    regs.rip = next_rip;
}

fn repeats(write: Write) -> bool {
    let rep: Option<Rep> = match write {
        Write::Stos(_, _, rep) | Write::Movs(_, _, _, rep) => rep,
        _ => None,
    };
    rep.is_some()
}

fn advance(regs: &mut CpuUserRegs, reg: Reg, memory: Memory, width: Width) {
    let step = bytes_of(width);
    let step = if regs.rflags & flags::DF != 0 {
        -step
    } else {
        step
    };
    let moved = gpr::read(regs, reg).wrapping_add_signed(step);
    let moved = if memory.address.is_32bit {
        moved & 0xffff_ffff
    } else {
        moved
    };
    gpr::write(regs, reg, moved);
}

#[cfg(test)]
mod tests;
