//! Privileged instructions, executed from bytes in a fake guest.

use guest_abi::frame::{GuestVirtAddr, MachAddr};
use guest_abi::trap::TrapInfo;
use guest_abi::vcpu::CpuUserRegs;
use guest_abi::zerocopy::FromZeros;

use super::{Emulator, Outcome};
use crate::trap::context::VcpuContext;
use crate::trap::flags;
use crate::trap::machine::{BaseRegister, FakeMachine, Machine};
use crate::trap::state::EntryState;

const RIP: u64 = 0xffff_ffff_8100_0000;

struct Guest {
    regs: CpuUserRegs,
    entry: EntryState,
    context: VcpuContext,
    machine: FakeMachine,
}

impl Guest {
    fn kernel() -> Self {
        let mut guest = Self {
            regs: CpuUserRegs::new_zeroed(),
            entry: EntryState::new(),
            context: VcpuContext::new(),
            machine: FakeMachine::default(),
        };
        guest.context.io.iopl = 1;
        guest
    }

    fn user() -> Self {
        let guest = Self::kernel();
        guest.entry.set_in_kernel(false);
        guest
    }

    fn run(&mut self, bytes: &[u8]) -> Outcome {
        self.machine.map(RIP, bytes);
        self.machine.map(RIP + bytes.len() as u64, &[0x90; 15]);
        self.regs.rip = RIP;
        self.regs.cs = 0xe033;
        Emulator {
            regs: &mut self.regs,
            entry: &self.entry,
            context: &mut self.context,
            machine: &self.machine,
            privileged: false,
            is_first_vcpu: true,
        }
        .run()
    }

    fn set_gate(&mut self, vector: u8, dpl: u8) {
        let mut info = TrapInfo::new_zeroed();
        info.vector = vector;
        info.flags = dpl;
        info.address = GuestVirtAddr::new(RIP);
        assert!(self.context.traps.set(&info));
    }
}

#[test]
fn the_kernels_first_instruction_sets_its_gs_base() {
    let mut guest = Guest::kernel();
    guest.regs.rcx = 0xc000_0101;
    guest.regs.rax = 0xffff_ffff_8300_0000;
    guest.regs.rdx = 0xffff_ffff;
    assert_eq!(guest.run(&[0x0f, 0x30]), Outcome::Retired);
    assert_eq!(guest.regs.rip, RIP + 2);
    assert_eq!(
        guest.machine.segment_base(BaseRegister::GsActive),
        0xffff_ffff_8300_0000
    );
}

#[test]
fn an_unknown_msr_reads_zero_until_there_is_a_handler() {
    let mut guest = Guest::kernel();
    guest.regs.rcx = 0x1234;
    guest.regs.rax = 7;
    assert_eq!(guest.run(&[0x0f, 0x32]), Outcome::Retired);
    assert_eq!(guest.regs.rax, 0);
    guest.set_gate(13, 0);
    assert_eq!(guest.run(&[0x0f, 0x32]), Outcome::Refused);
    assert_eq!(guest.regs.rip, RIP);
}

#[test]
fn cli_and_sti_do_nothing_in_the_kernel_and_fault_in_user_mode() {
    for bytes in [[0xfa], [0xfb]] {
        let mut guest = Guest::kernel();
        let before = guest.regs.rflags;
        assert_eq!(guest.run(&bytes), Outcome::Retired);
        assert_eq!(guest.regs.rflags, before);
        assert_eq!(Guest::user().run(&bytes), Outcome::Refused);
    }
}

#[test]
fn user_mode_gets_nothing_privileged() {
    for bytes in [
        &[0x0f, 0x32][..],
        &[0x0f, 0x30],
        &[0x0f, 0x20, 0xc0],
        &[0x0f, 0x22, 0xe0],
        &[0x0f, 0x06],
        &[0x0f, 0x09],
        &[0xe4, 0x42],
        &[0xf4],
    ] {
        assert_eq!(Guest::user().run(bytes), Outcome::Refused, "{bytes:x?}");
    }
    assert_eq!(Guest::user().run(&[0x0f, 0xa2]), Outcome::Retired);
}

#[test]
fn ports_answer_all_ones_but_the_timer() {
    let mut guest = Guest::kernel();
    guest.regs.rax = 0x1122_3344_5566_7788;
    assert_eq!(guest.run(&[0xe4, 0x60]), Outcome::Retired);
    assert_eq!(guest.regs.rax, 0x1122_3344_5566_77ff);
    guest.run(&[0xe4, 0x42]);
    assert_eq!(guest.regs.rax & 0xff, 0);
    guest.run(&[0xed]);
    assert_eq!(guest.regs.rax, 0xffff_ffff);
}

#[test]
fn rep_insb_is_bounded_and_goes_on() {
    let mut guest = Guest::kernel();
    guest.machine.map(0x1000, &[0; 100]);
    guest.regs.rdi = 0x1000;
    guest.regs.rcx = 100;
    assert_eq!(guest.run(&[0xf3, 0x6c]), Outcome::Repeat);
    assert_eq!((guest.regs.rcx, guest.regs.rip), (36, RIP));
    assert_eq!(guest.run(&[0xf3, 0x6c]), Outcome::Retired);
    assert_eq!((guest.regs.rcx, guest.regs.rdi), (0, 0x1064));
    assert_eq!(guest.machine.word(0x1000), u64::MAX);
}

#[test]
fn a_string_into_the_core_is_a_page_fault_of_the_guest() {
    let mut guest = Guest::kernel();
    guest.regs.rdi = 0xffff_8300_0000_0000;
    let fault = Outcome::PageFault {
        address: 0xffff_8300_0000_0000,
        write: true,
    };
    assert_eq!(guest.run(&[0x6c]), fault);
}

#[test]
fn control_registers_show_virtual_values() {
    let mut guest = Guest::kernel();
    guest.entry.set_kernel_root(MachAddr::new(0x7000));
    assert_eq!(guest.run(&[0x0f, 0x20, 0xd8]), Outcome::Retired);
    assert_eq!(guest.regs.rax, 0x7000);
    guest.regs.rax = u64::MAX;
    assert_eq!(guest.run(&[0x0f, 0x22, 0xe0]), Outcome::Retired);
    assert_eq!(
        guest.context.cr4 & (1 << 7 | 1 << 16 | 1 << 18 | 1 << 20),
        0
    );
    guest.regs.rax = guest.context.cr0() | 1 << 3;
    assert_eq!(guest.run(&[0x0f, 0x22, 0xc0]), Outcome::Retired);
    assert!(guest.machine.task_switched.get() && guest.context.task_switched);
    assert_eq!(guest.run(&[0x0f, 0x06]), Outcome::Retired);
    assert!(!guest.machine.task_switched.get());
    guest.regs.rax = 0;
    assert_eq!(guest.run(&[0x0f, 0x22, 0xc0]), Outcome::Refused);
}

#[test]
fn int_n_needs_a_gate_that_its_ring_may_use() {
    let mut guest = Guest::kernel();
    guest.set_gate(0x20, 1);
    guest.set_gate(0x21, 0);
    assert_eq!(guest.run(&[0xcd, 0x20]), Outcome::Interrupt(0x20));
    assert_eq!(guest.regs.rip, RIP + 2);
    assert_eq!(guest.run(&[0xcd, 0x21]), Outcome::Refused);
    assert_eq!(guest.run(&[0xcd, 0x22]), Outcome::Refused);
    guest.entry.set_in_kernel(false);
    assert_eq!(guest.run(&[0xcd, 0x20]), Outcome::Refused);
}

#[test]
fn a_breakpoint_in_the_core_is_refused_by_mov_too() {
    let mut guest = Guest::kernel();
    guest.regs.rax = 0xffff_82d0_8020_0000;
    assert_eq!(guest.run(&[0x0f, 0x23, 0xc0]), Outcome::Refused);
}

#[test]
fn retiring_clears_the_resume_flag() {
    let mut guest = Guest::kernel();
    guest.regs.rflags = flags::RF;
    guest.run(&[0xfa]);
    assert_eq!(guest.regs.rflags & flags::RF, 0);
}

#[test]
fn an_instruction_at_the_end_of_the_mapped_page_is_still_fetched() {
    let mut guest = Guest::kernel();
    let rip = 0x1fff;
    guest.machine.map(rip, &[0xfa]);
    guest.regs.rip = rip;
    guest.regs.cs = 0xe033;
    let outcome = Emulator {
        regs: &mut guest.regs,
        entry: &guest.entry,
        context: &mut guest.context,
        machine: &guest.machine,
        privileged: false,
        is_first_vcpu: true,
    }
    .run();
    assert_eq!(outcome, Outcome::Retired);
}
