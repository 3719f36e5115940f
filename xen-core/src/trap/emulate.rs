//! Privileged instructions of the guest's kernel, and the few that its user may have emulated.
//!
//! The processor raised #GP because the guest runs in ring 3. The bytes at RIP say what it wanted;
//! they are read once and trusted no further than the decoder goes. What is not emulated gets the
//! #GP that it caused.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::vcpu::CpuUserRegs;

use super::context::VcpuContext;
use super::decode::{
    CodeSize, ControlReg, MAX_LENGTH, Memory, Operation, Port, Privileged, Reg, RegOperand, Rep,
    Segment, Width, decode,
};
use super::gpr::{edx_eax, low16, low32, operand, read, set_edx_eax, set_operand, write};
use super::machine::{BaseRegister, Machine};
use super::state::EntryState;
use super::{cpuid, debugreg, flags, io, msr};
use crate::arch::layout::is_off_limits;

/// String elements moved for one trap; the rest traps again.
const MAX_ELEMENTS: u32 = 64;

/// What became of a faulting instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Emulated; RIP stands behind it.
    Retired,
    /// Emulated in part: the guest executes it again.
    Repeat,
    /// A software interrupt: the vector's handler is to be entered; RIP stands behind it.
    Interrupt(u8),
    /// A page fault at this address while emulating, when the access was a write (or not).
    PageFault {
        /// Where.
        address: u64,
        /// The access was a write.
        write: bool,
    },
    /// Not ours: the guest gets the fault it caused.
    Refused,
}

/// A vCPU with an instruction to emulate.
#[derive(Debug)]
pub struct Emulator<'a, M> {
    /// Its registers.
    pub regs: &'a mut CpuUserRegs,
    /// Its mode.
    pub entry: &'a EntryState,
    /// The rest of it.
    pub context: &'a mut VcpuContext,
    /// Its hardware.
    pub machine: &'a M,
    /// It belongs to the privileged domain.
    pub privileged: bool,
    /// It is vCPU 0.
    pub is_first_vcpu: bool,
}

impl<M: Machine> Emulator<'_, M> {
    /// Emulates the instruction at RIP.
    pub fn run(&mut self) -> Outcome {
        let mut bytes = [0; MAX_LENGTH];
        let fetched = fetch(self.machine, self.regs.rip, &mut bytes);
        let is_64bit = self.machine.is_64bit_code(self.regs.cs);
        let code = if is_64bit {
            CodeSize::Bits64
        } else {
            CodeSize::Bits32
        };
        let Ok(instruction) = decode(fetched, code) else {
            return Outcome::Refused;
        };
        let Operation::Privileged(operation) = instruction.operation else {
            return Outcome::Refused;
        };
        let next_rip = self.regs.rip.wrapping_add(instruction.length.into());
        let outcome = self.execute(operation, next_rip);
        if matches!(outcome, Outcome::Retired | Outcome::Interrupt(_)) {
            self.regs.rip = if is_64bit {
                next_rip
            } else {
                u64::from(low32(next_rip))
            };
            self.regs.rflags &= !flags::RF;
        }
        outcome
    }

    fn execute(&mut self, operation: Privileged, next_rip: u64) -> Outcome {
        match operation {
            Privileged::In(port, width) => self.port_in(port, width),
            Privileged::Out(port, width) => self.port_out(port, width),
            Privileged::Ins(width, rep, to) => self.string_io(width, rep, to, true),
            Privileged::Outs(width, rep, from) => self.string_io(width, rep, from, false),
            Privileged::Cpuid => self.cpuid(),
            Privileged::Interrupt(vector) => self.interrupt(vector),
            _ if !self.entry.in_kernel() => Outcome::Refused,
            Privileged::Cli | Privileged::Sti => retired(self.context.io.iopl >= 1),
            Privileged::Clts => self.set_task_switched(false),
            Privileged::Wbinvd => Outcome::Retired,
            Privileged::Invlpg(memory) => self.invlpg(memory, next_rip),
            Privileged::Rdmsr => self.rdmsr(),
            Privileged::Wrmsr => {
                let (number, value) = (low32(self.regs.rcx), edx_eax(self.regs));
                retired(msr::write(number, value, self.context, self.machine))
            }
            Privileged::Rdtsc => {
                set_edx_eax(self.regs, self.machine.time_stamp());
                Outcome::Retired
            }
            Privileged::Rdtscp => {
                set_edx_eax(self.regs, self.machine.time_stamp());
                self.regs.rcx = self.context.tsc_aux.into();
                Outcome::Retired
            }
            Privileged::ReadCr(control, reg) => self.read_control(control, reg),
            Privileged::WriteCr(control, reg) => self.write_control(control, reg),
            Privileged::ReadDr(number, reg) => self.read_debug(number, reg),
            Privileged::WriteDr(number, reg) => self.write_debug(number, reg),
            // HLT has a hypercall, INVD loses data, XSETBV belongs to the hidden XSAVE.
            Privileged::Hlt | Privileged::Invd | Privileged::Xsetbv => Outcome::Refused,
        }
    }

    fn may_access(&self, port: u16, width: Width) -> bool {
        self.context
            .io
            .allows(port, width, self.entry, self.machine)
    }

    fn port_number(&self, port: Port) -> u16 {
        match port {
            Port::Immediate(number) => number.into(),
            Port::Dx => low16(self.regs.rdx),
        }
    }

    fn port_in(&mut self, port: Port, width: Width) -> Outcome {
        let port = self.port_number(port);
        if !self.may_access(port, width) {
            return Outcome::Refused;
        }
        let value = io::read(port, width, self.privileged, self.machine);
        set_operand(self.regs, RegOperand::accumulator(width), value.into());
        Outcome::Retired
    }

    fn port_out(&mut self, port: Port, width: Width) -> Outcome {
        let port = self.port_number(port);
        if !self.may_access(port, width) {
            return Outcome::Refused;
        }
        let value = low32(operand(self.regs, RegOperand::accumulator(width)));
        io::write(port, width, value, self.privileged, self.machine);
        Outcome::Retired
    }

    /// `ins` and `outs`, a bounded number of elements at a time.
    fn string_io(
        &mut self,
        width: Width,
        rep: Option<Rep>,
        memory: Memory,
        is_in: bool,
    ) -> Outcome {
        let port = low16(self.regs.rdx);
        if !self.may_access(port, width) {
            return Outcome::Refused;
        }
        let count_mask = if memory.address.is_32bit {
            0xffff_ffff
        } else {
            u64::MAX
        };
        for _ in 0..MAX_ELEMENTS {
            if rep.is_some() && self.regs.rcx & count_mask == 0 {
                return Outcome::Retired;
            }
            if let Err(fault) = self.string_element(port, width, memory, is_in) {
                return fault;
            }
            if rep.is_none() {
                return Outcome::Retired;
            }
            self.regs.rcx = self.regs.rcx.wrapping_sub(1) & count_mask;
        }
        if self.regs.rcx & count_mask == 0 {
            Outcome::Retired
        } else {
            Outcome::Repeat
        }
    }

    fn string_element(
        &mut self,
        port: u16,
        width: Width,
        memory: Memory,
        is_in: bool,
    ) -> Result<(), Outcome> {
        let address = GuestVirtAddr::new(self.linear(memory, 0));
        let size = usize::try_from(width.bytes()).unwrap_or(1);
        let mut bytes = [0; 4];
        let slice = bytes.get_mut(..size).ok_or(Outcome::Refused)?;
        let fault = Outcome::PageFault {
            address: address.get(),
            write: is_in,
        };
        if is_in {
            let value = io::read(port, width, self.privileged, self.machine).to_le_bytes();
            slice.copy_from_slice(value.get(..size).ok_or(Outcome::Refused)?);
            self.machine.write(address, slice).map_err(|_| fault)?;
        } else {
            self.machine.read(address, slice).map_err(|_| fault)?;
            let value = u32::from_le_bytes(bytes);
            io::write(port, width, value, self.privileged, self.machine);
        }
        let step = width.bytes();
        let step = if self.regs.rflags & flags::DF != 0 {
            step.wrapping_neg()
        } else {
            step
        };
        let index = if is_in { Reg::RDI } else { Reg::RSI };
        let moved = read(self.regs, index).wrapping_add(step);
        let is_32bit = memory.address.is_32bit;
        write(
            self.regs,
            index,
            if is_32bit { low32(moved).into() } else { moved },
        );
        Ok(())
    }

    /// Puts the guest's view of a CPUID leaf into its registers.
    pub(super) fn cpuid(&mut self) -> Outcome {
        let (leaf, subleaf) = (low32(self.regs.rax), low32(self.regs.rcx));
        let facts = self.machine.host_facts();
        let answer = cpuid::leaf(leaf, subleaf, facts, |l, s| self.machine.cpuid(l, s));
        self.regs.rax = answer.eax.into();
        self.regs.rbx = answer.ebx.into();
        self.regs.rcx = answer.ecx.into();
        self.regs.rdx = answer.edx.into();
        Outcome::Retired
    }

    /// `int n`: the gate's DPL decides, against virtual ring 1 for the kernel and 3 for the user.
    fn interrupt(&mut self, vector: u8) -> Outcome {
        let level = if self.entry.in_kernel() { 1 } else { 3 };
        match self.context.traps.gate(vector) {
            Some(gate) if gate.dpl >= level => Outcome::Interrupt(vector),
            _ => Outcome::Refused,
        }
    }

    fn set_task_switched(&mut self, set: bool) -> Outcome {
        self.context.task_switched = set;
        self.machine.set_task_switched(set);
        Outcome::Retired
    }

    fn invlpg(&mut self, memory: Memory, next_rip: u64) -> Outcome {
        let address = self.linear(memory, next_rip);
        if !is_off_limits(address, 1) {
            self.machine.invalidate(GuestVirtAddr::new(address));
        }
        Outcome::Retired
    }

    /// A guest without a #GP handler yet cannot survive the fault: it reads 0 instead.
    fn rdmsr(&mut self) -> Outcome {
        let number = low32(self.regs.rcx);
        let value = msr::read(number, self.is_first_vcpu, self.context, self.machine);
        let has_handler = self
            .context
            .traps
            .gate(super::vector::GENERAL_PROTECTION)
            .is_some();
        match value {
            None if has_handler => Outcome::Refused,
            _ => {
                set_edx_eax(self.regs, value.unwrap_or(0));
                Outcome::Retired
            }
        }
    }

    fn read_control(&mut self, control: ControlReg, reg: Reg) -> Outcome {
        let value = match control {
            ControlReg::Cr0 => self.context.cr0(),
            ControlReg::Cr2 => self.machine.cr2(self.entry),
            ControlReg::Cr3 => self.entry.kernel_root().get(),
            ControlReg::Cr4 => self.context.cr4,
            ControlReg::Cr8 => 0,
        };
        write(self.regs, reg, value);
        Outcome::Retired
    }

    fn write_control(&mut self, control: ControlReg, reg: Reg) -> Outcome {
        let value = read(self.regs, reg);
        match control {
            ControlReg::Cr0 if (value ^ self.context.cr0()) & !(1 << 3) == 0 => {
                self.set_task_switched(value & 1 << 3 != 0)
            }
            ControlReg::Cr2 => {
                self.machine.set_cr2(self.entry, value);
                Outcome::Retired
            }
            ControlReg::Cr4 => {
                self.context.set_cr4(value);
                Outcome::Retired
            }
            ControlReg::Cr8 => retired(value == 0),
            ControlReg::Cr0 | ControlReg::Cr3 => Outcome::Refused,
        }
    }

    fn read_debug(&mut self, number: u8, reg: Reg) -> Outcome {
        let Some(value) = self.context.debug.get(number) else {
            return Outcome::Refused;
        };
        write(self.regs, reg, value);
        Outcome::Retired
    }

    fn write_debug(&mut self, number: u8, reg: Reg) -> Outcome {
        let value = read(self.regs, reg);
        retired(debugreg::set(&mut self.context.debug, number, value, self.machine).is_ok())
    }

    fn linear(&self, memory: Memory, next_rip: u64) -> u64 {
        linear(memory, next_rip, self.regs, self.machine)
    }
}

/// The linear address of a memory operand, with the bases that are in force.
pub fn linear(memory: Memory, next_rip: u64, regs: &CpuUserRegs, machine: &impl Machine) -> u64 {
    let base = |segment| match segment {
        Segment::Fs => machine.segment_base(BaseRegister::Fs),
        Segment::Gs => machine.segment_base(BaseRegister::GsActive),
        _ => 0,
    };
    memory.linear(next_rip, |reg| read(regs, reg), base)
}

/// Reads what can be read of the instruction at `rip`: up to fifteen bytes, fewer when the next
/// page is not there.
pub fn fetch<'b>(machine: &impl Machine, rip: u64, into: &'b mut [u8; MAX_LENGTH]) -> &'b [u8] {
    let at = GuestVirtAddr::new(rip);
    if machine.read(at, into).is_ok() {
        return into;
    }
    let in_page = (guest_abi::PAGE_SIZE - at.page_offset()).min(MAX_LENGTH);
    let part = into.get_mut(..in_page).unwrap_or(&mut []);
    if machine.read(at, part).is_ok() {
        part
    } else {
        &[]
    }
}

fn retired(done: bool) -> Outcome {
    if done {
        Outcome::Retired
    } else {
        Outcome::Refused
    }
}

#[cfg(test)]
mod tests;
