//! What a decoded instruction does, one variant for each behaviour.

use super::{Memory, Operand, Reg, RegOperand, Width};

/// A repeat prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rep {
    /// `rep` or `repe` (0xf3).
    Equal,
    /// `repne` (0xf2): the same as `rep` on the instructions we know.
    NotEqual,
}

/// Where a port number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The byte in the instruction.
    Immediate(u8),
    /// dx
    Dx,
}

/// A control register that `mov` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlReg {
    /// cr0
    Cr0,
    /// cr2
    Cr2,
    /// cr3
    Cr3,
    /// cr4
    Cr4,
    /// cr8
    Cr8,
}

impl ControlReg {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Cr0),
            2 => Some(Self::Cr2),
            3 => Some(Self::Cr3),
            4 => Some(Self::Cr4),
            8 => Some(Self::Cr8),
            _ => None,
        }
    }
}

/// An instruction that faults outside ring 0 (or without the I/O privilege).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileged {
    /// `in al/ax/eax, port`
    In(Port, Width),
    /// `out port, al/ax/eax`
    Out(Port, Width),
    /// `ins`: port dx to es:rdi.
    Ins(Width, Option<Rep>, Memory),
    /// `outs`: ds:rsi to port dx.
    Outs(Width, Option<Rep>, Memory),
    /// `cli`
    Cli,
    /// `sti`
    Sti,
    /// `hlt`
    Hlt,
    /// `clts`
    Clts,
    /// `invd`
    Invd,
    /// `wbinvd`
    Wbinvd,
    /// `invlpg`
    Invlpg(Memory),
    /// `xsetbv`
    Xsetbv,
    /// `rdmsr`
    Rdmsr,
    /// `wrmsr`
    Wrmsr,
    /// `rdtsc`
    Rdtsc,
    /// `rdtscp`
    Rdtscp,
    /// `cpuid`
    Cpuid,
    /// `mov reg, crN`
    ReadCr(ControlReg, Reg),
    /// `mov crN, reg`
    WriteCr(ControlReg, Reg),
    /// `mov reg, drN`
    ReadDr(u8, Reg),
    /// `mov drN, reg`
    WriteDr(u8, Reg),
    /// `int n`
    Interrupt(u8),
}

/// Two-operand arithmetic with a memory destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alu {
    /// add
    Add,
    /// or
    Or,
    /// add with carry
    Adc,
    /// subtract with borrow
    Sbb,
    /// and
    And,
    /// sub
    Sub,
    /// xor
    Xor,
}

impl Alu {
    /// From the opcode's or ModRM's 3-bit field; 7 is `cmp`, which writes nothing.
    pub(super) fn from_field(field: u8) -> Option<Self> {
        [
            Self::Add,
            Self::Or,
            Self::Adc,
            Self::Sbb,
            Self::And,
            Self::Sub,
            Self::Xor,
        ]
        .get(usize::from(field))
        .copied()
    }
}

/// One-operand arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// inc
    Inc,
    /// dec
    Dec,
    /// not
    Not,
    /// neg
    Neg,
}

/// Bit test and change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOp {
    /// bts
    Set,
    /// btr
    Reset,
    /// btc
    Complement,
}

/// A store or a read-modify-write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// `mov [m], source` (and `movnti`).
    Store(Memory, Width, Operand),
    /// `stos`: accumulator to es:rdi.
    Stos(Memory, Width, Option<Rep>),
    /// `movs`: ds:rsi to es:rdi. Destination first.
    Movs(Memory, Memory, Width, Option<Rep>),
    /// `xchg [m], reg`
    Xchg(Memory, RegOperand),
    /// `xadd [m], reg`
    Xadd(Memory, RegOperand),
    /// `cmpxchg [m], reg`
    Cmpxchg(Memory, RegOperand),
    /// Two-operand arithmetic.
    Alu(Alu, Memory, Width, Operand),
    /// One-operand arithmetic.
    Unary(Unary, Memory, Width),
    /// Bit test and change.
    Bit(BitOp, Memory, Width, Operand),
}

impl Write {
    /// Whether a `lock` prefix is legal.
    pub(super) fn may_lock(self) -> bool {
        !matches!(self, Self::Store(..) | Self::Stos(..) | Self::Movs(..))
    }

    /// Bytes written.
    pub fn width(self) -> Width {
        match self {
            Self::Store(_, width, _)
            | Self::Stos(_, width, _)
            | Self::Movs(_, _, width, _)
            | Self::Alu(_, _, width, _)
            | Self::Unary(_, _, width)
            | Self::Bit(_, _, width, _) => width,
            Self::Xchg(_, reg) | Self::Xadd(_, reg) | Self::Cmpxchg(_, reg) => reg.width,
        }
    }

    /// The destination.
    pub fn memory(self) -> Memory {
        match self {
            Self::Store(memory, ..)
            | Self::Stos(memory, ..)
            | Self::Movs(memory, ..)
            | Self::Xchg(memory, _)
            | Self::Xadd(memory, _)
            | Self::Cmpxchg(memory, _)
            | Self::Alu(_, memory, ..)
            | Self::Unary(_, memory, _)
            | Self::Bit(_, memory, ..) => memory,
        }
    }
}

/// The two families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Faults for lack of privilege.
    Privileged(Privileged),
    /// Writes memory.
    Write(Write),
}

impl From<Privileged> for Operation {
    fn from(operation: Privileged) -> Self {
        Self::Privileged(operation)
    }
}

impl From<Write> for Operation {
    fn from(operation: Write) -> Self {
        Self::Write(operation)
    }
}
