//! The decoder against hand-assembled bytes and against anything at all.

use super::{
    Alu, Base, BitOp, CodeSize, ControlReg, DecodeError, Instruction, MAX_LENGTH, Operand,
    Operation, Port, Privileged, Reg, Rep, Segment, Width, Write, decode,
};

fn decode64(bytes: &[u8]) -> Instruction {
    decode(bytes, CodeSize::Bits64).expect("an instruction we know")
}

fn privileged(bytes: &[u8]) -> Privileged {
    match decode64(bytes) {
        Instruction {
            length,
            operation: Operation::Privileged(operation),
        } => {
            assert_eq!(usize::from(length), bytes.len());
            operation
        }
        other => panic!("{other:?}"),
    }
}

fn write(bytes: &[u8]) -> Write {
    match decode64(bytes) {
        Instruction {
            length,
            operation: Operation::Write(operation),
        } => {
            assert_eq!(usize::from(length), bytes.len());
            operation
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn privileged_instructions_are_recognised() {
    assert_eq!(privileged(&[0xfa]), Privileged::Cli);
    assert_eq!(privileged(&[0x0f, 0x30]), Privileged::Wrmsr);
    assert_eq!(privileged(&[0x0f, 0xa2]), Privileged::Cpuid);
    assert_eq!(
        privileged(&[0xe4, 0x42]),
        Privileged::In(Port::Immediate(0x42), Width::Byte)
    );
    assert_eq!(privileged(&[0xed]), Privileged::In(Port::Dx, Width::Dword));
    assert_eq!(
        privileged(&[0x66, 0xef]),
        Privileged::Out(Port::Dx, Width::Word)
    );
    assert_eq!(
        privileged(&[0x48, 0xef]),
        Privileged::Out(Port::Dx, Width::Dword)
    );
    assert_eq!(privileged(&[0xcd, 0x80]), Privileged::Interrupt(0x80));
    assert_eq!(privileged(&[0x0f, 0x01, 0xd1]), Privileged::Xsetbv);
    assert_eq!(
        privileged(&[0x0f, 0x20, 0xe0]),
        Privileged::ReadCr(ControlReg::Cr4, Reg::RAX)
    );
    assert_eq!(
        privileged(&[0x41, 0x0f, 0x22, 0xe1]),
        Privileged::WriteCr(ControlReg::Cr4, Reg::new(1, true))
    );
    assert_eq!(
        privileged(&[0x0f, 0x23, 0xf8]),
        Privileged::WriteDr(7, Reg::RAX)
    );
    assert!(matches!(
        privileged(&[0xf3, 0x6c]),
        Privileged::Ins(Width::Byte, Some(Rep::Equal), _)
    ));
}

#[test]
fn a_store_keeps_its_operands() {
    // mov [rbx+r12*8+0x10], rax
    let Write::Store(memory, Width::Qword, Operand::Register(source)) =
        write(&[0x4a, 0x89, 0x44, 0xe3, 0x10])
    else {
        panic!("not a store")
    };
    assert_eq!(source.reg, Reg::RAX);
    let registers = |reg: Reg| if reg == Reg::RBX { 0x1000 } else { 2 };
    assert_eq!(memory.linear(0, registers, |_| 0), 0x1000 + 16 + 0x10);
}

#[test]
fn rip_relative_counts_from_the_next_instruction() {
    // mov qword [rip-8], 1
    let bytes = [0x48, 0xc7, 0x05, 0xf8, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    let memory = write(&bytes).memory();
    assert_eq!(memory.address.base, Base::NextRip);
    assert_eq!(memory.linear(0x2000, |_| 0, |_| 0), 0x1ff8);
}

#[test]
fn a_gs_prefix_adds_the_base() {
    // mov gs:[rdi], rsi
    let memory = write(&[0x65, 0x48, 0x89, 0x37]).memory();
    assert_eq!(memory.segment, Some(Segment::Gs));
    assert_eq!(
        memory.linear(0, |_| 8, |_| 0xffff_8880_0000_0000),
        0xffff_8880_0000_0008
    );
}

#[test]
fn locked_forms_of_a_page_table_write() {
    // lock and byte [rdi], 0xfd ; lock btr qword [rdi], 1 ; lock cmpxchg [rdi], rsi
    assert!(matches!(
        write(&[0xf0, 0x80, 0x27, 0xfd]),
        Write::Alu(Alu::And, _, Width::Byte, Operand::Immediate(value)) if value & 0xff == 0xfd
    ));
    assert!(matches!(
        write(&[0xf0, 0x48, 0x0f, 0xba, 0x37, 1]),
        Write::Bit(BitOp::Reset, _, Width::Qword, Operand::Immediate(1))
    ));
    assert!(matches!(
        write(&[0xf0, 0x48, 0x0f, 0xb1, 0x37]),
        Write::Cmpxchg(..)
    ));
}

#[test]
fn a_lock_on_a_plain_store_is_refused() {
    let locked = [0xf0, 0x48, 0x89, 0x07];
    assert_eq!(decode(&locked, CodeSize::Bits64), Err(DecodeError::Unknown));
    assert_eq!(
        decode(&[0xf0, 0xfa], CodeSize::Bits64),
        Err(DecodeError::Unknown)
    );
}

#[test]
fn byte_registers_without_rex_are_the_high_halves() {
    // mov [rdi], ah / with REX: mov [rdi], spl
    let Write::Store(_, _, Operand::Register(high)) = write(&[0x88, 0x27]) else {
        panic!()
    };
    assert!(high.high && high.reg == Reg::RAX);
    let Write::Store(_, _, Operand::Register(low)) = write(&[0x40, 0x88, 0x27]) else {
        panic!()
    };
    assert!(!low.high && low.reg == Reg::RSP);
}

#[test]
fn an_instruction_longer_than_fifteen_bytes_is_refused() {
    let mut bytes = [0x66; MAX_LENGTH + 1];
    bytes[MAX_LENGTH] = 0xfa;
    assert_eq!(decode(&bytes, CodeSize::Bits64), Err(DecodeError::Unknown));
}

#[test]
fn a_cut_instruction_is_truncated() {
    assert_eq!(
        decode(&[0x48, 0xc7, 0x05], CodeSize::Bits64),
        Err(DecodeError::Truncated)
    );
    assert_eq!(decode(&[], CodeSize::Bits64), Err(DecodeError::Truncated));
}

#[test]
fn no_byte_string_makes_the_decoder_overrun() {
    // A full sweep of two opcode bytes in front of each kind of tail.
    for first in 0..=255 {
        for second in 0..=255 {
            for tail in [0x00, 0x24, 0x67, 0xff] {
                let mut bytes = [tail; MAX_LENGTH];
                bytes[0] = first;
                bytes[1] = second;
                for code in [CodeSize::Bits32, CodeSize::Bits64] {
                    if let Ok(found) = decode(&bytes, code) {
                        assert!(usize::from(found.length) <= MAX_LENGTH);
                    }
                }
            }
        }
    }
}
