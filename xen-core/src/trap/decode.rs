//! The instruction decoder: bytes at a guest's RIP in, one small description out.
//!
//! It knows two families only: the privileged instructions that a ported kernel still
//! executes (`operation::Privileged`), and the stores and read-modify-writes that may hit a page
//! table (`operation::Write`). Everything else is [`DecodeError::Unknown`] and the guest gets the
//! fault it caused. The decoder is pure: it reads no memory and no register, so that a hostile
//! byte string can at worst be refused. Reference: Intel SDM volume 2, chapter 2 and appendix A.

pub mod memory;
pub mod operand;
pub mod operation;

mod cursor;
mod one_byte;
mod two_byte;

use cursor::Cursor;
pub use memory::{Address, Base, Memory, Segment};
pub use operand::{Operand, Reg, RegOperand, Width};
pub use operation::{Alu, BitOp, ControlReg, Operation, Port, Privileged, Rep, Unary, Write};

/// No x86 instruction is longer than this.
pub const MAX_LENGTH: usize = 15;

/// Default operand and address size of the code segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSize {
    /// Compatibility mode with a 32-bit code segment (user processes only).
    Bits32,
    /// 64-bit mode: every guest kernel.
    Bits64,
}

/// Why some bytes are not an instruction we emulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end in the middle of the instruction (the next page is not readable).
    Truncated,
    /// A valid or invalid instruction outside the two families.
    Unknown,
}

/// One decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Bytes to advance RIP by.
    pub length: u8,
    /// What it does.
    pub operation: Operation,
}

/// The prefixes in front of the opcode.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prefixes {
    operand_size: bool,
    address_size: bool,
    lock: bool,
    rep: Option<Rep>,
    segment: Option<Segment>,
    rex: u8,
}

impl Prefixes {
    const REX_W: u8 = 8;
    const REX_R: u8 = 4;
    const REX_X: u8 = 2;
    const REX_B: u8 = 1;

    /// Consumes the prefixes. A REX counts only directly in front of the opcode.
    fn decode(cursor: &mut Cursor<'_>, code: CodeSize) -> Result<(Self, u8), DecodeError> {
        let mut prefixes = Self::default();
        loop {
            let byte = cursor.byte()?;
            match byte {
                0x66 => prefixes.operand_size = true,
                0x67 => prefixes.address_size = true,
                0xf0 => prefixes.lock = true,
                0xf2 => prefixes.rep = Some(Rep::NotEqual),
                0xf3 => prefixes.rep = Some(Rep::Equal),
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => {
                    prefixes.segment = Segment::from_prefix(byte);
                }
                0x40..=0x4f if code == CodeSize::Bits64 => {
                    prefixes.rex = byte;
                    continue;
                }
                opcode => return Ok((prefixes, opcode)),
            }
            prefixes.rex = 0;
        }
    }

    /// Operand width of an opcode whose low bit tells byte from full size.
    fn width(self, opcode: u8) -> Width {
        if opcode & 1 == 0 {
            Width::Byte
        } else {
            self.full_width()
        }
    }

    /// Operand width of an opcode without a byte form.
    fn full_width(self) -> Width {
        match (self.rex & Self::REX_W != 0, self.operand_size) {
            (true, _) => Width::Qword,
            (false, true) => Width::Word,
            (false, false) => Width::Dword,
        }
    }

    /// The register numbered by the ModRM `reg` field.
    fn reg(self, field: u8) -> Reg {
        Reg::new(field, self.rex & Self::REX_R != 0)
    }

    /// The register numbered by the ModRM `rm` field.
    fn rm(self, field: u8) -> Reg {
        Reg::new(field, self.rex & Self::REX_B != 0)
    }

    /// The register operand in the ModRM `reg` field, `ah` to `bh` included.
    fn reg_operand(self, field: u8, width: Width) -> RegOperand {
        RegOperand::new(self.reg(field), width, self.rex != 0)
    }
}

/// Decodes the instruction at the start of `bytes`.
pub fn decode(bytes: &[u8], code: CodeSize) -> Result<Instruction, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let (prefixes, opcode) = Prefixes::decode(&mut cursor, code)?;
    let operation = match opcode {
        0x0f => two_byte::decode(&mut cursor, prefixes, code)?,
        _ => one_byte::decode(&mut cursor, prefixes, code, opcode)?,
    };
    // `lock` is an #UD on everything that is not a read-modify-write of memory.
    if prefixes.lock && !matches!(operation, Operation::Write(write) if write.may_lock()) {
        return Err(DecodeError::Unknown);
    }
    Ok(Instruction {
        length: cursor.consumed(),
        operation,
    })
}

#[cfg(test)]
mod tests;
