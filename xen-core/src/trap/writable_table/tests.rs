//! Page-table writes as Linux issues them, against one fake table page.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::vcpu::CpuUserRegs;
use guest_abi::zerocopy::FromZeros;

use super::{Tables, emulate};
use crate::trap::flags;
use crate::trap::machine::FakeMachine;

const RIP: u64 = 0xffff_ffff_8100_0000;
const PAGE: u64 = 0xffff_8880_0200_0000;

struct OneTable {
    entries: [u64; 512],
    /// An accessed bit that the processor sets before the first exchange.
    race: bool,
}

impl OneTable {
    fn new() -> Self {
        Self {
            entries: [0; 512],
            race: false,
        }
    }
}

impl Tables for OneTable {
    type Slot = usize;

    fn entry_at(&mut self, address: GuestVirtAddr) -> Option<usize> {
        (address.page_base().get() == PAGE).then(|| address.page_offset() / 8)
    }

    fn load(&mut self, slot: usize) -> Option<u64> {
        Some(self.entries[slot])
    }

    fn compare_exchange(&mut self, slot: usize, old: u64, new: u64) -> Option<u64> {
        if std::mem::take(&mut self.race) {
            self.entries[slot] |= 0x20;
        }
        // Bit 8 stands for "not a valid entry".
        if new & 0x100 != 0 {
            return None;
        }
        let found = self.entries[slot];
        if found == old {
            self.entries[slot] = new;
        }
        Some(found)
    }
}

fn run(bytes: &[u8], regs: &mut CpuUserRegs, table: &mut OneTable, fault: u64) -> bool {
    let machine = FakeMachine::default();
    machine.map(RIP, bytes);
    machine.map(RIP + bytes.len() as u64, &[0x90; 15]);
    machine.map(0x1000, &0x8877_6655_4433_2267u64.to_le_bytes());
    regs.rip = RIP;
    emulate(GuestVirtAddr::new(fault), regs, &machine, table)
}

fn regs() -> CpuUserRegs {
    let mut regs = CpuUserRegs::new_zeroed();
    regs.rdi = PAGE + 8;
    regs.rsi = 0x1234_5067;
    regs
}

#[test]
fn a_plain_store_becomes_an_update() {
    let (mut regs, mut table) = (regs(), OneTable::new());
    assert!(run(&[0x48, 0x89, 0x37], &mut regs, &mut table, PAGE + 8));
    assert_eq!(table.entries[1], 0x1234_5067);
    assert_eq!(regs.rip, RIP + 3);
}

#[test]
fn a_byte_and_changes_only_its_byte() {
    let (mut regs, mut table) = (regs(), OneTable::new());
    table.entries[1] = 0x8000_0000_0000_1067;
    // lock and byte [rdi], 0xfd
    assert!(run(
        &[0xf0, 0x80, 0x27, 0xfd],
        &mut regs,
        &mut table,
        PAGE + 8
    ));
    assert_eq!(table.entries[1], 0x8000_0000_0000_1065);
}

#[test]
fn a_bit_set_by_the_processor_meanwhile_survives() {
    let (mut regs, mut table) = (regs(), OneTable::new());
    table.entries[1] = 0x1047;
    table.race = true;
    // lock btr qword [rdi], 1
    assert!(run(
        &[0xf0, 0x48, 0x0f, 0xba, 0x37, 1],
        &mut regs,
        &mut table,
        PAGE + 8
    ));
    assert_eq!(table.entries[1], 0x1065);
    assert_ne!(regs.rflags & flags::CF, 0);
}

#[test]
fn an_exchange_returns_the_old_entry() {
    let (mut regs, mut table) = (regs(), OneTable::new());
    table.entries[1] = 0x1067;
    regs.rsi = 0;
    assert!(run(&[0x48, 0x87, 0x37], &mut regs, &mut table, PAGE + 8));
    assert_eq!((table.entries[1], regs.rsi), (0, 0x1067));
}

#[test]
fn a_failed_compare_exchange_writes_nothing() {
    let (mut regs, mut table) = (regs(), OneTable::new());
    table.entries[1] = 0x1067;
    regs.rax = 5;
    assert!(run(
        &[0xf0, 0x48, 0x0f, 0xb1, 0x37],
        &mut regs,
        &mut table,
        PAGE + 8
    ));
    assert_eq!(
        (table.entries[1], regs.rax, regs.rip),
        (0x1067, 0x1067, RIP + 5)
    );
    assert_eq!(regs.rflags & flags::ZF, 0);
}

#[test]
fn a_refused_entry_is_a_page_fault() {
    let (mut regs, mut table) = (regs(), OneTable::new());
    regs.rsi = 0x167;
    assert!(!run(&[0x48, 0x89, 0x37], &mut regs, &mut table, PAGE + 8));
    assert_eq!((table.entries[1], regs.rip), (0, RIP));
}

#[test]
fn a_misaligned_or_misplaced_write_is_a_page_fault() {
    let mut table = OneTable::new();
    let mut misaligned = regs();
    misaligned.rdi = PAGE + 12;
    assert!(!run(
        &[0x48, 0x89, 0x37],
        &mut misaligned,
        &mut table,
        PAGE + 12
    ));
    // The instruction writes elsewhere than the fault says: changed under our hands.
    let mut elsewhere = regs();
    assert!(!run(
        &[0x48, 0x89, 0x37],
        &mut elsewhere,
        &mut table,
        PAGE + 16
    ));
    let mut unmapped = regs();
    assert!(!run(&[0x48, 0x89, 0x37], &mut unmapped, &mut table, 0x5000));
}

#[test]
fn a_bit_offset_in_a_register_moves_the_operand() {
    let (mut regs, mut table) = (regs(), OneTable::new());
    // lock bts [rdi], rcx with an offset of minus one qword and 3 bits
    regs.rcx = (-61i64).cast_unsigned();
    assert!(run(
        &[0xf0, 0x48, 0x0f, 0xab, 0x0f],
        &mut regs,
        &mut table,
        PAGE
    ));
    assert_eq!(table.entries[0], 1 << 3);
    // The same instruction, but the fault was where rdi points.
    assert!(!run(
        &[0xf0, 0x48, 0x0f, 0xab, 0x0f],
        &mut regs,
        &mut table,
        PAGE + 8
    ));
}

#[test]
fn a_repeated_string_store_goes_one_element_a_fault() {
    let (mut regs, mut table) = (regs(), OneTable::new());
    regs.rcx = 2;
    regs.rax = 0x2067;
    assert!(run(&[0xf3, 0x48, 0xab], &mut regs, &mut table, PAGE + 8));
    assert_eq!((regs.rcx, regs.rip, regs.rdi), (1, RIP, PAGE + 16));
    assert!(run(&[0xf3, 0x48, 0xab], &mut regs, &mut table, PAGE + 16));
    assert_eq!((regs.rcx, regs.rip), (0, RIP + 3));
    assert_eq!(table.entries[1..3], [0x2067, 0x2067]);
}

#[test]
fn a_string_move_copies_from_memory() {
    let (mut regs, mut table) = (regs(), OneTable::new());
    regs.rsi = 0x1000;
    assert!(run(&[0x48, 0xa5], &mut regs, &mut table, PAGE + 8));
    assert_eq!(
        (table.entries[1], regs.rsi),
        (0x8877_6655_4433_2267, 0x1008)
    );
}
