//! The one-byte opcode map, as far as we need it.

use super::cursor::Cursor;
use super::memory::{ModRm, address_is_32bit};
use super::operand::{Operand, Reg, RegOperand, Width};
use super::operation::{Alu, Operation, Port, Privileged, Unary, Write};
use super::{CodeSize, DecodeError, Memory, Prefixes};

type Decoded = Result<Operation, DecodeError>;

/// Decodes everything behind a one-byte opcode.
pub(super) fn decode(
    cursor: &mut Cursor<'_>,
    prefixes: Prefixes,
    code: CodeSize,
    opcode: u8,
) -> Decoded {
    match opcode {
        0x00..=0x3f if opcode & 7 < 2 => alu_from_register(cursor, prefixes, code, opcode),
        0x6c..=0x6f => string_io(prefixes, code, opcode),
        0x80 | 0x81 | 0x83 => alu_from_immediate(cursor, prefixes, code, opcode),
        0x86 | 0x87 => {
            let (memory, reg) = memory_and_register(cursor, prefixes, code, opcode)?;
            Ok(Write::Xchg(memory, reg).into())
        }
        0x88 | 0x89 => {
            let (memory, reg) = memory_and_register(cursor, prefixes, code, opcode)?;
            Ok(Write::Store(memory, reg.width, Operand::Register(reg)).into())
        }
        0xa2 | 0xa3 => store_absolute(cursor, prefixes, code, opcode),
        0xa4 | 0xa5 => movs(prefixes, code, opcode),
        0xaa | 0xab => {
            let memory = Memory::register(Reg::RDI, None, address_is_32bit(prefixes, code)?);
            Ok(Write::Stos(memory, prefixes.width(opcode), prefixes.rep).into())
        }
        0xc6 | 0xc7 => store_immediate(cursor, prefixes, code, opcode),
        0xcd => Ok(Privileged::Interrupt(cursor.byte()?).into()),
        0xe4..=0xe7 | 0xec..=0xef => port_io(cursor, prefixes, opcode),
        0xf4 => Ok(Privileged::Hlt.into()),
        0xf6 | 0xf7 => not_neg(cursor, prefixes, code, opcode),
        0xfa => Ok(Privileged::Cli.into()),
        0xfb => Ok(Privileged::Sti.into()),
        0xfe | 0xff => inc_dec(cursor, prefixes, code, opcode),
        _ => Err(DecodeError::Unknown),
    }
}

/// The common shape `op [m], reg`.
pub(super) fn memory_and_register(
    cursor: &mut Cursor<'_>,
    prefixes: Prefixes,
    code: CodeSize,
    opcode: u8,
) -> Result<(Memory, RegOperand), DecodeError> {
    let modrm = ModRm::decode(cursor, prefixes, code)?;
    let reg = prefixes.reg_operand(modrm.reg, prefixes.width(opcode));
    Ok((modrm.memory()?, reg))
}

fn alu_from_register(
    cursor: &mut Cursor<'_>,
    prefixes: Prefixes,
    code: CodeSize,
    opcode: u8,
) -> Decoded {
    let alu = Alu::from_field(opcode >> 3).ok_or(DecodeError::Unknown)?;
    let (memory, reg) = memory_and_register(cursor, prefixes, code, opcode)?;
    Ok(Write::Alu(alu, memory, reg.width, Operand::Register(reg)).into())
}

fn alu_from_immediate(
    cursor: &mut Cursor<'_>,
    prefixes: Prefixes,
    code: CodeSize,
    opcode: u8,
) -> Decoded {
    let modrm = ModRm::decode(cursor, prefixes, code)?;
    let alu = Alu::from_field(modrm.reg).ok_or(DecodeError::Unknown)?;
    let memory = modrm.memory()?;
    let width = prefixes.width(opcode);
    let value = if opcode == 0x83 {
        cursor.i8()?.cast_unsigned()
    } else {
        immediate(cursor, width)?
    };
    Ok(Write::Alu(alu, memory, width, Operand::Immediate(value)).into())
}

fn store_immediate(
    cursor: &mut Cursor<'_>,
    prefixes: Prefixes,
    code: CodeSize,
    opcode: u8,
) -> Decoded {
    let modrm = ModRm::decode(cursor, prefixes, code)?;
    if modrm.reg != 0 {
        return Err(DecodeError::Unknown);
    }
    let memory = modrm.memory()?;
    let width = prefixes.width(opcode);
    let value = immediate(cursor, width)?;
    Ok(Write::Store(memory, width, Operand::Immediate(value)).into())
}

fn store_absolute(
    cursor: &mut Cursor<'_>,
    prefixes: Prefixes,
    code: CodeSize,
    opcode: u8,
) -> Decoded {
    let is_32bit = address_is_32bit(prefixes, code)?;
    // The offset has the size of an address, not of the operand.
    let offset = if is_32bit {
        cursor.i32()?.cast_unsigned() & 0xffff_ffff
    } else {
        cursor.u64()?
    };
    let width = prefixes.width(opcode);
    let source = Operand::Register(RegOperand::accumulator(width));
    Ok(Write::Store(Memory::absolute(offset, prefixes, is_32bit), width, source).into())
}

fn movs(prefixes: Prefixes, code: CodeSize, opcode: u8) -> Decoded {
    let is_32bit = address_is_32bit(prefixes, code)?;
    let destination = Memory::register(Reg::RDI, None, is_32bit);
    let source = Memory::register(Reg::RSI, prefixes.segment, is_32bit);
    Ok(Write::Movs(destination, source, prefixes.width(opcode), prefixes.rep).into())
}

fn string_io(prefixes: Prefixes, code: CodeSize, opcode: u8) -> Decoded {
    let is_32bit = address_is_32bit(prefixes, code)?;
    let width = port_width(prefixes, opcode);
    let operation = if opcode < 0x6e {
        Privileged::Ins(
            width,
            prefixes.rep,
            Memory::register(Reg::RDI, None, is_32bit),
        )
    } else {
        let source = Memory::register(Reg::RSI, prefixes.segment, is_32bit);
        Privileged::Outs(width, prefixes.rep, source)
    };
    Ok(operation.into())
}

fn port_io(cursor: &mut Cursor<'_>, prefixes: Prefixes, opcode: u8) -> Decoded {
    let port = if opcode < 0xe8 {
        Port::Immediate(cursor.byte()?)
    } else {
        Port::Dx
    };
    let width = port_width(prefixes, opcode);
    let is_out = opcode & 2 != 0;
    let operation = if is_out {
        Privileged::Out(port, width)
    } else {
        Privileged::In(port, width)
    };
    Ok(operation.into())
}

/// Ports are at most 32 bits wide: REX.W is ignored.
fn port_width(prefixes: Prefixes, opcode: u8) -> Width {
    match prefixes.width(opcode) {
        Width::Qword => Width::Dword,
        width => width,
    }
}

fn not_neg(cursor: &mut Cursor<'_>, prefixes: Prefixes, code: CodeSize, opcode: u8) -> Decoded {
    let modrm = ModRm::decode(cursor, prefixes, code)?;
    let unary = match modrm.reg {
        2 => Unary::Not,
        3 => Unary::Neg,
        _ => return Err(DecodeError::Unknown),
    };
    Ok(Write::Unary(unary, modrm.memory()?, prefixes.width(opcode)).into())
}

fn inc_dec(cursor: &mut Cursor<'_>, prefixes: Prefixes, code: CodeSize, opcode: u8) -> Decoded {
    let modrm = ModRm::decode(cursor, prefixes, code)?;
    let unary = match modrm.reg {
        0 => Unary::Inc,
        1 => Unary::Dec,
        _ => return Err(DecodeError::Unknown),
    };
    Ok(Write::Unary(unary, modrm.memory()?, prefixes.width(opcode)).into())
}

/// An immediate of the operand's width, at most 32 bits, sign-extended.
fn immediate(cursor: &mut Cursor<'_>, width: Width) -> Result<u64, DecodeError> {
    match width {
        Width::Byte => Ok(cursor.i8()?.cast_unsigned()),
        Width::Word => Ok(cursor.u16()?.into()),
        Width::Dword | Width::Qword => Ok(cursor.i32()?.cast_unsigned()),
    }
}
