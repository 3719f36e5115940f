//! Memory operands: ModRM, SIB and displacement, and the address they stand for.

use super::cursor::Cursor;
use super::{CodeSize, DecodeError, Prefixes, Reg};

/// A segment register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// es
    Es,
    /// cs
    Cs,
    /// ss
    Ss,
    /// ds
    Ds,
    /// fs
    Fs,
    /// gs
    Gs,
}

impl Segment {
    pub(super) fn from_prefix(byte: u8) -> Option<Self> {
        match byte {
            0x26 => Some(Self::Es),
            0x2e => Some(Self::Cs),
            0x36 => Some(Self::Ss),
            0x3e => Some(Self::Ds),
            0x64 => Some(Self::Fs),
            0x65 => Some(Self::Gs),
            _ => None,
        }
    }

    /// Whether the segment adds a base in 64-bit mode; the other four are flat.
    pub fn has_base(self) -> bool {
        matches!(self, Self::Fs | Self::Gs)
    }
}

/// What the displacement is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    None,
    /// A register.
    Register(Reg),
    /// The address of the next instruction.
    NextRip,
}

/// How the offset inside the segment is formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Base.
    pub base: Base,
    /// Index register and its scale as a shift (0 to 3).
    pub index: Option<(Reg, u8)>,
    /// Displacement or absolute offset.
    pub displacement: u64,
    /// The offset is cut to 32 bits (address-size prefix or 32-bit code).
    pub is_32bit: bool,
}

/// A memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The offset.
    pub address: Address,
    /// Segment override, if there was one.
    pub segment: Option<Segment>,
}

impl Memory {
    /// The linear address, from the values of the registers and the segment's base.
    ///
    /// `next_rip` is the address of the following instruction.
    pub fn linear(
        &self,
        next_rip: u64,
        register: impl Fn(Reg) -> u64,
        segment_base: impl Fn(Segment) -> u64,
    ) -> u64 {
        let address = self.address;
        let base = match address.base {
            Base::None => 0,
            Base::Register(reg) => register(reg),
            Base::NextRip => next_rip,
        };
        let index = address
            .index
            .map_or(0, |(reg, shift)| register(reg).wrapping_shl(shift.into()));
        let offset = base.wrapping_add(index).wrapping_add(address.displacement);
        let offset = if address.is_32bit {
            offset & 0xffff_ffff
        } else {
            offset
        };
        match self.segment {
            Some(segment) if segment.has_base() => offset.wrapping_add(segment_base(segment)),
            _ => offset,
        }
    }

    /// An operand at an absolute offset (`mov moffs`).
    pub(super) fn absolute(offset: u64, prefixes: Prefixes, is_32bit: bool) -> Self {
        let address = Address {
            base: Base::None,
            index: None,
            displacement: offset,
            is_32bit,
        };
        Self {
            address,
            segment: prefixes.segment,
        }
    }

    /// An operand whose offset is one register (string instructions).
    pub(super) fn register(reg: Reg, segment: Option<Segment>, is_32bit: bool) -> Self {
        let base = Base::Register(reg);
        Self {
            address: Address {
                base,
                index: None,
                displacement: 0,
                is_32bit,
            },
            segment,
        }
    }
}

/// The `rm` side of a ModRM byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegOrMemory {
    Register(Reg),
    Memory(Memory),
}

/// A decoded ModRM byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModRm {
    /// The 3-bit `reg` field: a register, or an opcode extension.
    pub(super) reg: u8,
    pub(super) rm: RegOrMemory,
}

impl ModRm {
    pub(super) fn decode(
        cursor: &mut Cursor<'_>,
        prefixes: Prefixes,
        code: CodeSize,
    ) -> Result<Self, DecodeError> {
        let byte = cursor.byte()?;
        let (mode, reg, rm) = (byte >> 6, (byte >> 3) & 7, byte & 7);
        if mode == 3 {
            return Ok(Self {
                reg,
                rm: RegOrMemory::Register(prefixes.rm(rm)),
            });
        }
        let is_32bit = address_is_32bit(prefixes, code)?;
        let mut address = Address {
            base: Base::None,
            index: None,
            displacement: 0,
            is_32bit,
        };
        if rm == 4 {
            sib(cursor, prefixes, mode, &mut address)?;
        } else if rm == 5 && mode == 0 {
            address.displacement = cursor.i32()?.cast_unsigned();
            if code == CodeSize::Bits64 {
                address.base = Base::NextRip;
            }
        } else {
            address.base = Base::Register(prefixes.rm(rm));
        }
        match mode {
            1 => address.displacement = cursor.i8()?.cast_unsigned(),
            2 => address.displacement = cursor.i32()?.cast_unsigned(),
            _ => {}
        }
        Ok(Self {
            reg,
            rm: RegOrMemory::Memory(Memory {
                address,
                segment: prefixes.segment,
            }),
        })
    }

    /// The memory operand; a register form is none of our instructions.
    pub(super) fn memory(self) -> Result<Memory, DecodeError> {
        match self.rm {
            RegOrMemory::Memory(memory) => Ok(memory),
            RegOrMemory::Register(_) => Err(DecodeError::Unknown),
        }
    }
}

/// 16-bit addressing (address-size prefix in 32-bit code) is refused.
pub(super) fn address_is_32bit(prefixes: Prefixes, code: CodeSize) -> Result<bool, DecodeError> {
    match (code, prefixes.address_size) {
        (CodeSize::Bits32, true) => Err(DecodeError::Unknown),
        (CodeSize::Bits32, false) => Ok(true),
        (CodeSize::Bits64, prefixed) => Ok(prefixed),
    }
}

fn sib(
    cursor: &mut Cursor<'_>,
    prefixes: Prefixes,
    mode: u8,
    address: &mut Address,
) -> Result<(), DecodeError> {
    let byte = cursor.byte()?;
    let (scale, index, base) = (byte >> 6, (byte >> 3) & 7, byte & 7);
    let index = Reg::new(index, prefixes.rex & Prefixes::REX_X != 0);
    // rsp cannot be an index: its number says "none".
    address.index = (index != Reg::RSP).then_some((index, scale));
    if base == 5 && mode == 0 {
        address.displacement = cursor.i32()?.cast_unsigned();
    } else {
        address.base = Base::Register(prefixes.rm(base));
    }
    Ok(())
}
