//! Exceptions, from the processor's report to the guest's frame.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::trap::TrapInfo;
use guest_abi::vcpu::CpuUserRegs;
use guest_abi::zerocopy::FromZeros;

use super::{Exception, handle};
use crate::effect::CrashReason;
use crate::trap::context::VcpuContext;
use crate::trap::emulate::Emulator;
use crate::trap::flags;
use crate::trap::machine::FakeMachine;
use crate::trap::state::EntryState;
use crate::trap::writable_table::Tables;

const RIP: u64 = 0xffff_ffff_8100_0000;
const STACK: u64 = 0xffff_8880_0001_0000;
const HANDLERS: u64 = 0xffff_ffff_8200_0000;

struct NoTables;

impl Tables for NoTables {
    type Slot = ();
    fn entry_at(&mut self, _: GuestVirtAddr) -> Option<()> {
        None
    }
    fn load(&mut self, (): ()) -> Option<u64> {
        None
    }
    fn compare_exchange(&mut self, (): (), _: u64, _: u64) -> Option<u64> {
        None
    }
}

struct Guest {
    regs: CpuUserRegs,
    entry: EntryState,
    context: VcpuContext,
    machine: FakeMachine,
}

impl Guest {
    fn new(in_kernel: bool) -> Self {
        let mut guest = Self {
            regs: CpuUserRegs::new_zeroed(),
            entry: EntryState::new(),
            context: VcpuContext::new(),
            machine: FakeMachine::default(),
        };
        guest.machine.map(STACK - 512, &[0; 512]);
        guest.entry.set_in_kernel(in_kernel);
        guest.entry.set_kernel_stack(0xe02b, STACK);
        guest.context.io.iopl = 1;
        guest.regs.rip = RIP;
        guest.regs.cs = 0xe033;
        guest.regs.rsp = STACK - 256;
        for vector in 0..=255 {
            let mut info = TrapInfo::new_zeroed();
            info.vector = vector;
            info.address = GuestVirtAddr::new(HANDLERS + u64::from(vector));
            assert!(guest.context.traps.set(&info));
        }
        guest
    }

    fn take(&mut self, vector: u8, error_code: u32, detail: u64) -> Result<(), CrashReason> {
        let mut emulator = Emulator {
            regs: &mut self.regs,
            entry: &self.entry,
            context: &mut self.context,
            machine: &self.machine,
            privileged: false,
            is_first_vcpu: true,
        };
        handle(
            Exception {
                vector,
                error_code,
                detail,
            },
            &mut emulator,
            Some(&mut NoTables),
        )
    }

    fn code(&self, bytes: &[u8]) {
        self.machine.map(RIP, bytes);
        self.machine.map(RIP + bytes.len() as u64, &[0x90; 15]);
    }

    fn frame_word(&self, index: u64) -> u64 {
        self.machine.word(self.regs.rsp + index * 8)
    }
}

#[test]
fn a_page_fault_shows_the_guests_own_mode() {
    for (in_kernel, reported, shown) in [(true, 6, 2), (false, 6, 6), (true, 0x15, 0x11)] {
        let mut guest = Guest::new(in_kernel);
        guest.take(14, reported, 0x1234).unwrap();
        assert_eq!(guest.regs.rip, HANDLERS + 14);
        assert_eq!(guest.frame_word(2), shown);
        assert_eq!(guest.machine.cr2.get(), 0x1234);
    }
}

#[test]
fn a_stale_translation_is_no_fault() {
    let mut guest = Guest::new(true);
    guest.machine.spurious.set(0x5000);
    guest.take(14, 3, 0x5000).unwrap();
    assert_eq!(guest.regs.rip, RIP);
}

#[test]
fn a_fault_in_the_core_is_shown_to_the_guest_and_never_walked() {
    let mut guest = Guest::new(false);
    guest.machine.spurious.set(0xffff_8300_0000_0000);
    guest.take(14, 5, 0xffff_8300_0000_0000).unwrap();
    assert_eq!(guest.regs.rip, HANDLERS + 14);
}

#[test]
fn forced_cpuid_skips_seven_bytes() {
    let mut guest = Guest::new(true);
    guest.code(&[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2]);
    guest.regs.rax = 0x4000_0000;
    guest.take(6, 0, 0).unwrap();
    assert_eq!(guest.regs.rip, RIP + 7);
    assert_eq!(guest.regs.rbx, 0x566e_6558);
}

#[test]
fn an_ordinary_ud2_is_bounced() {
    let mut guest = Guest::new(true);
    guest.code(&[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0x0b]);
    guest.take(6, 0, 0).unwrap();
    assert_eq!(guest.regs.rip, HANDLERS + 6);
    assert_eq!(guest.frame_word(2), RIP);
}

#[test]
fn a_wrong_error_code_of_int_n_does_not_matter() {
    let mut guest = Guest::new(true);
    let mut info = TrapInfo::new_zeroed();
    info.vector = 0x20;
    info.flags = 3;
    info.address = GuestVirtAddr::new(HANDLERS + 0x20);
    assert!(guest.context.traps.set(&info));
    guest.code(&[0xcd, 0x20]);
    // As QEMU 7.2 reports it: n * 16 + 2.
    guest.take(13, 0x202, 0).unwrap();
    assert_eq!(guest.regs.rip, HANDLERS + 0x20);
    assert_eq!(guest.frame_word(2), RIP + 2);
}

#[test]
fn a_selectors_fault_is_not_emulated() {
    let mut guest = Guest::new(true);
    guest.code(&[0xfa]);
    guest.take(13, 0x50, 0).unwrap();
    assert_eq!(guest.regs.rip, HANDLERS + 13);
    assert_eq!(guest.frame_word(2), 0x50);
}

#[test]
fn int_80_without_a_handler_is_a_protection_fault() {
    let mut guest = Guest::new(false);
    let mut gate = TrapInfo::new_zeroed();
    guest.regs.rip = RIP + 2;
    guest.take(0x80, 0, 0).unwrap();
    assert_eq!(guest.regs.rip, HANDLERS + 0x80);
    assert_eq!(guest.frame_word(2), RIP + 2);

    gate.vector = 0x80;
    assert!(guest.context.traps.set(&gate));
    guest.regs.rip = RIP + 2;
    guest.take(0x80, 0, 0).unwrap();
    assert_eq!(guest.regs.rip, HANDLERS + 13);
    assert_eq!((guest.frame_word(2), guest.frame_word(3)), (0x402, RIP));
}

#[test]
fn virtual_ts_reaches_the_guest_once() {
    let mut guest = Guest::new(true);
    guest.take(7, 0, 0).unwrap();
    assert_eq!(guest.regs.rip, RIP);
    guest.context.task_switched = true;
    guest.take(7, 0, 0).unwrap();
    assert_eq!(guest.regs.rip, HANDLERS + 7);
    assert!(!guest.context.task_switched);
}

#[test]
fn a_single_step_over_an_emulated_instruction_is_reported() {
    let mut guest = Guest::new(true);
    guest.code(&[0xfa]);
    guest.regs.rflags = flags::TF;
    guest.take(13, 0, 0).unwrap();
    assert_eq!(guest.regs.rip, HANDLERS + 1);
    assert_ne!(guest.context.debug.dr6 & 1 << 14, 0);
    assert_eq!(guest.frame_word(2), RIP + 1);
}

#[test]
fn without_a_handler_the_domain_ends() {
    let mut guest = Guest::new(true);
    guest.context.traps.clear();
    let reason = CrashReason::UnhandledException {
        vector: 0,
        rip: RIP,
        address: 0,
    };
    assert_eq!(guest.take(0, 0, 0), Err(reason));
}
