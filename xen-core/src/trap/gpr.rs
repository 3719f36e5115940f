//! General-purpose registers of a saved frame, by their hardware number.

use guest_abi::vcpu::CpuUserRegs;

use super::decode::{Operand, Reg, RegOperand};

/// The whole register.
pub fn read(regs: &CpuUserRegs, reg: Reg) -> u64 {
    match reg.number() {
        0 => regs.rax,
        1 => regs.rcx,
        2 => regs.rdx,
        3 => regs.rbx,
        4 => regs.rsp,
        5 => regs.rbp,
        6 => regs.rsi,
        7 => regs.rdi,
        8 => regs.r8,
        9 => regs.r9,
        10 => regs.r10,
        11 => regs.r11,
        12 => regs.r12,
        13 => regs.r13,
        14 => regs.r14,
        _ => regs.r15,
    }
}

/// Sets the whole register.
pub fn write(regs: &mut CpuUserRegs, reg: Reg, value: u64) {
    *match reg.number() {
        0 => &mut regs.rax,
        1 => &mut regs.rcx,
        2 => &mut regs.rdx,
        3 => &mut regs.rbx,
        4 => &mut regs.rsp,
        5 => &mut regs.rbp,
        6 => &mut regs.rsi,
        7 => &mut regs.rdi,
        8 => &mut regs.r8,
        9 => &mut regs.r9,
        10 => &mut regs.r10,
        11 => &mut regs.r11,
        12 => &mut regs.r12,
        13 => &mut regs.r13,
        14 => &mut regs.r14,
        _ => &mut regs.r15,
    } = value;
}

/// The value of a register operand.
pub fn operand(regs: &CpuUserRegs, operand: RegOperand) -> u64 {
    operand.extract(read(regs, operand.reg))
}

/// Sets a register operand as hardware does (see [`RegOperand::insert`]).
pub fn set_operand(regs: &mut CpuUserRegs, operand: RegOperand, value: u64) {
    let whole = operand.insert(read(regs, operand.reg), value);
    write(regs, operand.reg, whole);
}

/// The value of a source operand.
pub fn source(regs: &CpuUserRegs, source: Operand) -> u64 {
    match source {
        Operand::Register(register) => operand(regs, register),
        Operand::Immediate(value) => value,
    }
}

/// The lower half of a register.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is asked for"
)]
pub const fn low32(value: u64) -> u32 {
    value as u32
}

/// The lowest 16 bits of a register.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lowest quarter is what is asked for"
)]
pub const fn low16(value: u64) -> u16 {
    value as u16
}

/// The pair edx:eax.
pub fn edx_eax(regs: &CpuUserRegs) -> u64 {
    u64::from(low32(regs.rdx)) << 32 | u64::from(low32(regs.rax))
}

/// Sets the pair edx:eax.
pub fn set_edx_eax(regs: &mut CpuUserRegs, value: u64) {
    regs.rax = u64::from(low32(value));
    regs.rdx = value >> 32;
}
