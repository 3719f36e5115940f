//! What a store or read-modify-write makes of a memory operand: pure arithmetic.
//!
//! [`apply`] takes the old value of the operand and the registers, and tells the new value, the
//! flags, and the register that changes besides. Nothing is written: the caller stores the value
//! with a compare-exchange and calls again if it lost the race.

use guest_abi::vcpu::CpuUserRegs;

use super::decode::{Alu, BitOp, RegOperand, Unary, Width, Write};
use super::flags::{AF, ARITHMETIC, CF, OF, PF, SF, ZF};
use super::gpr;

/// The consequences of one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What memory becomes; `None` leaves it (a failed `cmpxchg`).
    pub memory: Option<u64>,
    /// A register that changes, and its new value.
    pub register: Option<(RegOperand, u64)>,
    /// The arithmetic flags, if they change.
    pub flags: Option<u64>,
}

impl Effect {
    const fn store(value: u64) -> Self {
        Self {
            memory: Some(value),
            register: None,
            flags: None,
        }
    }

    const fn compute((value, flags): (u64, u64)) -> Self {
        Self {
            memory: Some(value),
            register: None,
            flags: Some(flags),
        }
    }
}

/// Executes `write` on `old`. `loaded` is the source operand of `movs`.
pub fn apply(write: Write, old: u64, loaded: u64, regs: &CpuUserRegs) -> Effect {
    let width = write.width();
    let mask = width.mask();
    let old = old & mask;
    match write {
        Write::Store(_, _, source) => Effect::store(gpr::source(regs, source) & mask),
        Write::Stos(..) => Effect::store(regs.rax & mask),
        Write::Movs(..) => Effect::store(loaded & mask),
        Write::Xchg(_, reg) => Effect {
            register: Some((reg, old)),
            ..Effect::store(gpr::operand(regs, reg))
        },
        Write::Xadd(_, reg) => {
            let sum = add(old, gpr::operand(regs, reg), 0, width);
            Effect {
                register: Some((reg, old)),
                ..Effect::compute(sum)
            }
        }
        Write::Cmpxchg(_, reg) => compare_exchange(old, reg, regs),
        Write::Alu(alu, _, _, source) => {
            let source = gpr::source(regs, source) & mask;
            Effect::compute(arithmetic(alu, old, source, regs.rflags & CF, width))
        }
        Write::Unary(unary, ..) => one_operand(unary, old, regs.rflags, width),
        Write::Bit(bit, _, _, source) => {
            let bit_mask = 1 << (gpr::source(regs, source) & u64::from(width.bits() - 1));
            let value = match bit {
                BitOp::Set => old | bit_mask,
                BitOp::Reset => old & !bit_mask,
                BitOp::Complement => old ^ bit_mask,
            };
            // Only CF is defined; the others stay.
            let carry = if old & bit_mask != 0 { CF } else { 0 };
            Effect::compute((value, regs.rflags & ARITHMETIC & !CF | carry))
        }
    }
}

fn compare_exchange(old: u64, reg: RegOperand, regs: &CpuUserRegs) -> Effect {
    let accumulator = RegOperand::accumulator(reg.width);
    let expected = gpr::operand(regs, accumulator);
    let (_, flags) = subtract(expected, old, 0, reg.width);
    if expected == old {
        return Effect::compute((gpr::operand(regs, reg), flags));
    }
    Effect {
        memory: None,
        register: Some((accumulator, old)),
        flags: Some(flags),
    }
}

fn arithmetic(alu: Alu, old: u64, source: u64, carry: u64, width: Width) -> (u64, u64) {
    match alu {
        Alu::Add => add(old, source, 0, width),
        Alu::Adc => add(old, source, carry, width),
        Alu::Sub => subtract(old, source, 0, width),
        Alu::Sbb => subtract(old, source, carry, width),
        Alu::Or => logic(old | source, width),
        Alu::And => logic(old & source, width),
        Alu::Xor => logic(old ^ source, width),
    }
}

fn one_operand(unary: Unary, old: u64, rflags: u64, width: Width) -> Effect {
    // inc and dec leave CF alone.
    let keep_carry = |(value, flags): (u64, u64)| (value, flags & !CF | rflags & CF);
    match unary {
        Unary::Inc => Effect::compute(keep_carry(add(old, 1, 0, width))),
        Unary::Dec => Effect::compute(keep_carry(subtract(old, 1, 0, width))),
        Unary::Neg => Effect::compute(subtract(0, old, 0, width)),
        Unary::Not => Effect::store(!old & width.mask()),
    }
}

fn add(a: u64, b: u64, carry: u64, width: Width) -> (u64, u64) {
    let wide = u128::from(a) + u128::from(b) + u128::from(carry);
    let value = a.wrapping_add(b).wrapping_add(carry) & width.mask();
    let carry_out = if wide >> width.bits() != 0 { CF } else { 0 };
    let overflow = if (a ^ value) & (b ^ value) & width.sign() != 0 {
        OF
    } else {
        0
    };
    (
        value,
        carry_out | overflow | (a ^ b ^ value) & AF | result_flags(value, width),
    )
}

fn subtract(a: u64, b: u64, borrow: u64, width: Width) -> (u64, u64) {
    let value = a.wrapping_sub(b).wrapping_sub(borrow) & width.mask();
    let borrow_out = if u128::from(a) < u128::from(b) + u128::from(borrow) {
        CF
    } else {
        0
    };
    let overflow = if (a ^ b) & (a ^ value) & width.sign() != 0 {
        OF
    } else {
        0
    };
    (
        value,
        borrow_out | overflow | (a ^ b ^ value) & AF | result_flags(value, width),
    )
}

fn logic(value: u64, width: Width) -> (u64, u64) {
    (value, result_flags(value, width))
}

fn result_flags(value: u64, width: Width) -> u64 {
    let zero = if value == 0 { ZF } else { 0 };
    let sign = if value & width.sign() != 0 { SF } else { 0 };
    let parity = if (value & 0xff).count_ones().is_multiple_of(2) {
        PF
    } else {
        0
    };
    zero | sign | parity
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trap::decode::{CodeSize, Operation, decode};
    use guest_abi::zerocopy::FromZeros;
    use proptest::prelude::*;

    fn write(bytes: &[u8]) -> Write {
        match decode(bytes, CodeSize::Bits64).unwrap().operation {
            Operation::Write(write) => write,
            other => panic!("{other:?}"),
        }
    }

    fn regs() -> CpuUserRegs {
        CpuUserRegs::new_zeroed()
    }

    #[test]
    fn an_exchange_swaps_memory_and_register() {
        // xchg [rdi], rsi
        let mut regs = regs();
        regs.rsi = 5;
        let effect = apply(write(&[0x48, 0x87, 0x37]), 9, 0, &regs);
        assert_eq!(effect.memory, Some(5));
        assert_eq!(effect.register.map(|(_, value)| value), Some(9));
    }

    #[test]
    fn a_failed_compare_leaves_memory_and_loads_the_accumulator() {
        // lock cmpxchg [rdi], rsi
        let cmpxchg = write(&[0xf0, 0x48, 0x0f, 0xb1, 0x37]);
        let mut regs = regs();
        (regs.rax, regs.rsi) = (1, 7);
        let failed = apply(cmpxchg, 2, 0, &regs);
        assert_eq!(failed.memory, None);
        assert_eq!(failed.register.map(|(_, value)| value), Some(2));
        assert_eq!(failed.flags.map(|f| f & ZF), Some(0));
        let done = apply(cmpxchg, 1, 0, &regs);
        assert_eq!(
            (done.memory, done.flags.map(|f| f & ZF)),
            (Some(7), Some(ZF))
        );
    }

    #[test]
    fn clearing_the_write_bit_of_an_entry() {
        // lock btr qword [rdi], 1 ; lock and byte [rdi], 0xfd
        let btr = apply(write(&[0xf0, 0x48, 0x0f, 0xba, 0x37, 1]), 0x67, 0, &regs());
        assert_eq!(
            (btr.memory, btr.flags.map(|f| f & CF)),
            (Some(0x65), Some(CF))
        );
        let and = apply(write(&[0xf0, 0x80, 0x27, 0xfd]), 0x67, 0, &regs());
        assert_eq!(and.memory, Some(0x65));
    }

    proptest! {
        #[test]
        fn sums_agree_with_wider_arithmetic(a: u32, b: u32, carry in 0u64..2) {
            let (value, flags) = add(a.into(), b.into(), carry, Width::Dword);
            let wide = u64::from(a) + u64::from(b) + carry;
            prop_assert_eq!(value, wide & 0xffff_ffff);
            prop_assert_eq!(flags & CF != 0, wide >> 32 != 0);
            let signed = i64::from(a.cast_signed()) + i64::from(b.cast_signed()) + carry.cast_signed();
            prop_assert_eq!(flags & OF != 0, i32::try_from(signed).is_err());
            prop_assert_eq!(flags & ZF != 0, value == 0);
        }

        #[test]
        fn differences_agree_with_wider_arithmetic(a: u32, b: u32, borrow in 0u64..2) {
            let (value, flags) = subtract(a.into(), b.into(), borrow, Width::Dword);
            let wide = i64::from(a) - i64::from(b) - borrow.cast_signed();
            prop_assert_eq!(value, wide.cast_unsigned() & 0xffff_ffff);
            prop_assert_eq!(flags & CF != 0, wide < 0);
            let signed = i64::from(a.cast_signed()) - i64::from(b.cast_signed()) - borrow.cast_signed();
            prop_assert_eq!(flags & OF != 0, i32::try_from(signed).is_err());
        }
    }
}
