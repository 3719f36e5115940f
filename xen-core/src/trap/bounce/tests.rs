//! Frames as the guest's kernel finds them.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::vcpu::CpuUserRegs;
use guest_abi::zerocopy::FromZeros;

use super::{Bounce, Extra, VECTOR_SYSCALL, deliver};
use crate::effect::CrashReason;
use crate::trap::flags;
use crate::trap::machine::FakeMachine;
use crate::trap::state::EntryState;

const HANDLER: u64 = 0xffff_ffff_8100_0000;
const STACK: u64 = 0xffff_8880_0001_0000;

fn bounce(extra: Extra) -> Bounce {
    Bounce {
        handler: GuestVirtAddr::new(HANDLER),
        masks_events: true,
        extra,
    }
}

fn machine_with_stack() -> FakeMachine {
    let machine = FakeMachine::default();
    machine.map(STACK - 256, &[0; 256]);
    machine
}

fn user_regs() -> CpuUserRegs {
    let mut regs = CpuUserRegs::new_zeroed();
    regs.rip = 0x40_1000;
    regs.cs = 0xe033;
    regs.rflags = flags::FORCED | flags::TF | flags::ZF;
    regs.rsp = 0x7fff_0000_0008;
    regs.ss = 0xe02b;
    regs.rcx = 0xc;
    regs.r11 = 0x11;
    regs
}

fn user_entry() -> EntryState {
    let entry = EntryState::new();
    entry.set_kernel_stack(0xe02b, STACK);
    entry.set_in_kernel(false);
    entry
}

#[test]
fn an_entry_from_user_mode_uses_the_kernel_stack_and_mode() {
    let (machine, entry, mut regs) = (machine_with_stack(), user_entry(), user_regs());
    deliver(bounce(Extra::ErrorCode(6)), &mut regs, &entry, &machine).unwrap();

    assert!(entry.in_kernel());
    assert_eq!(machine.toggles.get(), 1);
    assert_eq!((regs.rip, regs.rsp), (HANDLER, STACK - 64));
    assert_eq!(regs.rflags & flags::TF, 0);
    assert_eq!(regs.entry_vector, VECTOR_SYSCALL);
    assert_eq!(machine.mask.get(), 1);
    let words: Vec<u64> = (0..8).map(|n| machine.word(STACK - 64 + n * 8)).collect();
    let shown = flags::FORCED | flags::TF | flags::ZF;
    assert_eq!(
        words,
        [
            0xc,
            0x11,
            6,
            0x40_1000,
            0xe033,
            shown,
            0x7fff_0000_0008,
            0xe02b
        ]
    );
}

#[test]
fn an_entry_from_the_kernel_stays_on_its_stack_and_shows_rpl_0_and_the_mask() {
    let (machine, mut regs) = (machine_with_stack(), user_regs());
    let entry = EntryState::new();
    regs.rsp = STACK - 0x48;
    machine.mask.set(1);
    deliver(bounce(Extra::None), &mut regs, &entry, &machine).unwrap();

    assert_eq!(machine.toggles.get(), 0);
    assert_eq!(regs.rsp, STACK - 0x50 - 56);
    assert_eq!(machine.word(regs.rsp + 24), 0xe030 | 1 << 32);
    assert_eq!(machine.word(regs.rsp + 32) & flags::IF, 0);
    assert_eq!(machine.word(regs.rsp + 40), STACK - 0x48);
}

#[test]
fn the_failsafe_frame_carries_the_selectors() {
    let (machine, mut regs) = (machine_with_stack(), user_regs());
    let entry = EntryState::new();
    regs.rsp = STACK;
    (regs.ds, regs.es, regs.fs, regs.gs) = (1, 2, 3, 4);
    deliver(bounce(Extra::Selectors), &mut regs, &entry, &machine).unwrap();

    let words: Vec<u64> = (0..7).map(|n| machine.word(regs.rsp + n * 8)).collect();
    assert_eq!(words, [0xc, 0x11, 1, 2, 3, 4, 0x40_1000]);
}

#[test]
fn a_stack_that_cannot_take_the_frame_ends_the_domain() {
    let machine = machine_with_stack();
    // Unmapped, null, wrapping, non-canonical, in the core, reaching into the core.
    for rsp in [
        0x10_0000,
        0,
        32,
        0x8000_0000_0010,
        0xffff_8300_0000_1000,
        0xffff_8800_0000_0020,
        0xffff_8800_0000_0000,
    ] {
        let mut regs = user_regs();
        regs.rsp = rsp;
        let result = deliver(bounce(Extra::None), &mut regs, &EntryState::new(), &machine);
        assert_eq!(
            result,
            Err(CrashReason::BadStack { rsp: rsp & !0xf }),
            "{rsp:#x}"
        );
    }
}

#[test]
fn a_handler_that_is_none_ends_the_domain() {
    let (machine, entry) = (machine_with_stack(), EntryState::new());
    for handler in [0, 0xffff_8000_0000_0000, 0x8000_0000_0000] {
        let mut regs = user_regs();
        let handler = GuestVirtAddr::new(handler);
        let bounce = Bounce {
            handler,
            masks_events: true,
            extra: Extra::None,
        };
        assert!(deliver(bounce, &mut regs, &entry, &machine).is_err());
    }
}
