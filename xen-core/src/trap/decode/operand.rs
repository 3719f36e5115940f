//! Registers, widths and immediates: the operands that are not memory.

/// Operand width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Dword,
    /// 64 bits.
    Qword,
}

impl Width {
    /// Size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }

    /// Size in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Byte => 8,
            Self::Word => 16,
            Self::Dword => 32,
            Self::Qword => 64,
        }
    }

    /// The bits that belong to a value of this width.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// The sign bit of a value of this width.
    pub const fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }

    /// `new` as written into a register that held `old`: byte and word writes keep the rest,
    /// a 32-bit write clears the upper half.
    pub const fn merge(self, old: u64, new: u64) -> u64 {
        match self {
            Self::Byte | Self::Word => (old & !self.mask()) | (new & self.mask()),
            Self::Dword | Self::Qword => new & self.mask(),
        }
    }
}

/// A general-purpose register in the hardware's numbering: rax rcx rdx rbx rsp rbp rsi rdi r8-r15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(u8);

impl Reg {
    /// rax
    pub const RAX: Self = Self(0);
    /// rcx
    pub const RCX: Self = Self(1);
    /// rdx
    pub const RDX: Self = Self(2);
    /// rbx
    pub const RBX: Self = Self(3);
    /// rsp
    pub const RSP: Self = Self(4);
    /// rbp
    pub const RBP: Self = Self(5);
    /// rsi
    pub const RSI: Self = Self(6);
    /// rdi
    pub const RDI: Self = Self(7);

    /// The register of a 3-bit field and the REX bit that extends it.
    pub const fn new(field: u8, extended: bool) -> Self {
        Self((field & 7) | if extended { 8 } else { 0 })
    }

    /// Its number, 0 to 15.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A register operand of a certain width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegOperand {
    /// The register.
    pub reg: Reg,
    /// How much of it.
    pub width: Width,
    /// The operand is bits 8 to 15 (`ah`, `ch`, `dh`, `bh`).
    pub high: bool,
}

impl RegOperand {
    /// Without any REX prefix, byte registers 4 to 7 are the high bytes of 0 to 3.
    pub(super) const fn new(reg: Reg, width: Width, has_rex: bool) -> Self {
        if matches!(width, Width::Byte) && !has_rex && reg.0 >= 4 && reg.0 < 8 {
            return Self {
                reg: Reg(reg.0 - 4),
                width,
                high: true,
            };
        }
        Self {
            reg,
            width,
            high: false,
        }
    }

    /// The accumulator of this width.
    pub const fn accumulator(width: Width) -> Self {
        Self {
            reg: Reg::RAX,
            width,
            high: false,
        }
    }

    /// Picks the operand out of the whole register.
    pub const fn extract(self, whole: u64) -> u64 {
        let shifted = if self.high { whole >> 8 } else { whole };
        shifted & self.width.mask()
    }

    /// Puts `value` into the whole register.
    pub const fn insert(self, whole: u64, value: u64) -> u64 {
        if self.high {
            return (whole & !0xff00) | ((value & 0xff) << 8);
        }
        self.width.merge(whole, value)
    }
}

/// A source operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Register(RegOperand),
    /// A constant, already sign-extended to 64 bits.
    Immediate(u64),
}
