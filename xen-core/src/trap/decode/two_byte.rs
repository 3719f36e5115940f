//! The two-byte opcode map (0x0f), as far as we need it.

use super::cursor::Cursor;
use super::memory::{ModRm, RegOrMemory};
use super::one_byte::memory_and_register;
use super::operand::Operand;
use super::operation::{BitOp, ControlReg, Operation, Privileged, Write};
use super::{CodeSize, DecodeError, Prefixes};

type Decoded = Result<Operation, DecodeError>;

/// Decodes everything behind the byte 0x0f.
pub(super) fn decode(cursor: &mut Cursor<'_>, prefixes: Prefixes, code: CodeSize) -> Decoded {
    let opcode = cursor.byte()?;
    match opcode {
        0x01 => group7(cursor, prefixes, code),
        0x06 => Ok(Privileged::Clts.into()),
        0x08 => Ok(Privileged::Invd.into()),
        0x09 => Ok(Privileged::Wbinvd.into()),
        0x20..=0x23 => mov_special(cursor, prefixes, opcode),
        0x30 => Ok(Privileged::Wrmsr.into()),
        0x31 => Ok(Privileged::Rdtsc.into()),
        0x32 => Ok(Privileged::Rdmsr.into()),
        0xa2 => Ok(Privileged::Cpuid.into()),
        0xab => bit_from_register(cursor, prefixes, code, BitOp::Set),
        0xb3 => bit_from_register(cursor, prefixes, code, BitOp::Reset),
        0xbb => bit_from_register(cursor, prefixes, code, BitOp::Complement),
        0xba => bit_from_immediate(cursor, prefixes, code),
        0xb0 | 0xb1 => {
            let (memory, reg) = memory_and_register(cursor, prefixes, code, opcode)?;
            Ok(Write::Cmpxchg(memory, reg).into())
        }
        0xc0 | 0xc1 => {
            let (memory, reg) = memory_and_register(cursor, prefixes, code, opcode)?;
            Ok(Write::Xadd(memory, reg).into())
        }
        // movnti: the byte form does not exist, the odd opcode selects the full width.
        0xc3 => {
            let (memory, reg) = memory_and_register(cursor, prefixes, code, opcode)?;
            Ok(Write::Store(memory, reg.width, Operand::Register(reg)).into())
        }
        _ => Err(DecodeError::Unknown),
    }
}

fn group7(cursor: &mut Cursor<'_>, prefixes: Prefixes, code: CodeSize) -> Decoded {
    let modrm = ModRm::decode(cursor, prefixes, code)?;
    match (modrm.reg, modrm.rm) {
        (7, RegOrMemory::Memory(memory)) => Ok(Privileged::Invlpg(memory).into()),
        (2, RegOrMemory::Register(reg)) if reg.number() & 7 == 1 => Ok(Privileged::Xsetbv.into()),
        (7, RegOrMemory::Register(reg)) if reg.number() & 7 == 1 => Ok(Privileged::Rdtscp.into()),
        _ => Err(DecodeError::Unknown),
    }
}

/// `mov` to and from control and debug registers. The mode bits of ModRM are ignored: always
/// registers.
fn mov_special(cursor: &mut Cursor<'_>, prefixes: Prefixes, opcode: u8) -> Decoded {
    let byte = cursor.byte()?;
    let special = prefixes.reg((byte >> 3) & 7).number();
    let general = prefixes.rm(byte & 7);
    let operation = match opcode {
        0x20 => Privileged::ReadCr(control(special)?, general),
        0x22 => Privileged::WriteCr(control(special)?, general),
        0x21 if special < 8 => Privileged::ReadDr(special, general),
        0x23 if special < 8 => Privileged::WriteDr(special, general),
        _ => return Err(DecodeError::Unknown),
    };
    Ok(operation.into())
}

fn control(number: u8) -> Result<ControlReg, DecodeError> {
    ControlReg::from_number(number).ok_or(DecodeError::Unknown)
}

fn bit_from_register(
    cursor: &mut Cursor<'_>,
    prefixes: Prefixes,
    code: CodeSize,
    bit: BitOp,
) -> Decoded {
    // Opcode 1: these have no byte form.
    let (memory, reg) = memory_and_register(cursor, prefixes, code, 1)?;
    Ok(Write::Bit(bit, memory, reg.width, Operand::Register(reg)).into())
}

fn bit_from_immediate(cursor: &mut Cursor<'_>, prefixes: Prefixes, code: CodeSize) -> Decoded {
    let modrm = ModRm::decode(cursor, prefixes, code)?;
    let bit = match modrm.reg {
        5 => BitOp::Set,
        6 => BitOp::Reset,
        7 => BitOp::Complement,
        _ => return Err(DecodeError::Unknown),
    };
    let memory = modrm.memory()?;
    let offset = Operand::Immediate(cursor.byte()?.into());
    Ok(Write::Bit(bit, memory, prefixes.full_width(), offset).into())
}
