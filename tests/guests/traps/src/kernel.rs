//! The attempts, in groups.

use frontends::{println, sched, start::StartOfDay, traps};
use guest_abi::callback::{CallbackOp, CallbackRegister, CallbackType};
use guest_abi::frame::GuestVirtAddr;
use guest_abi::hypercall::Hypercall;
use guest_abi::multicall::MulticallEntry;
use guest_abi::sched::ShutdownReason;
use guest_abi::trap::TrapInfo;

use crate::arch::{self, Outcome};

const UD: u64 = 6;
const GP: u64 = 13;
const PF: u64 = 14;
const EINVAL: i64 = -22;
const ENOSYS: i64 = -38;
const EPERM: i64 = -1;
/// Inside the core's part of the address space.
const CORE: u64 = 0xffff_82d0_8020_0000;
const NON_CANONICAL: u64 = 0x8000_0000_0000;
const CS: u64 = 0xe030;
const SS: u64 = 0xe02b;
const IF: u64 = 1 << 9;
const IOPL: u64 = 3 << 12;
const VM: u64 = 1 << 17;

/// Counts what held, and stops at what did not.
struct Verdict {
    held: u32,
}

impl Verdict {
    fn check<T: PartialEq + core::fmt::Debug>(&mut self, what: &str, got: T, want: T) {
        if got != want {
            println!("{what}: {got:x?} instead of {want:x?}");
            println!("verdict: failed: {what}");
            sched::shutdown(ShutdownReason::Poweroff)
        }
        self.held += 1;
    }
}

/// Runs all groups.
pub(crate) fn main(start: &'static StartOfDay) -> ! {
    traps::set_handler(arch::on_trap);
    let mut verdict = Verdict { held: 0 };
    privileged(&mut verdict);
    addresses(&mut verdict);
    returns(&mut verdict);
    interrupts(&mut verdict);
    registers(&mut verdict);
    tables(&mut verdict);
    batches(&mut verdict);
    println!("verdict: traps: {} held", verdict.held);
    while start.arguments().contains(&"stay") {
        sched::yield_now();
    }
    sched::shutdown(ShutdownReason::Poweroff)
}

fn privileged(verdict: &mut Verdict) {
    verdict.check("hlt", arch::halt(), Outcome::Fault(GP, 0));
    verdict.check("lgdt", arch::load_gdt(), Outcome::Fault(GP, 0));
    // XSAVE is off: #UD by the manual, #GP from emulators that look at the ring first.
    let refused = matches!(arch::set_xcr0(), Outcome::Fault(UD | GP, 0));
    verdict.check("xsetbv", refused, true);
    verdict.check("mov cr3", arch::write_cr3(0), Outcome::Fault(GP, 0));
    verdict.check("mov cr4", arch::write_cr4(u64::MAX), Outcome::Done);
    // IOPL is 0: even `cli` is refused.
    verdict.check("cli", arch::clear_interrupts(), Outcome::Fault(GP, 0));
}

fn addresses(verdict: &mut Verdict) {
    // Not-present and protection faults of the core's own pages look alike from outside.
    for (what, address) in [("image", CORE), ("direct map", 0xffff_8300_0000_0000)] {
        let is_fault = |outcome| matches!(outcome, Outcome::Fault(PF, code) if code & 4 == 0);
        verdict.check(what, is_fault(arch::read_byte(address)), true);
        verdict.check(what, is_fault(arch::write_byte(address)), true);
        verdict.check(what, is_fault(arch::jump(address)), true);
    }
    let m2p = 0xffff_8000_0000_0000;
    verdict.check("m2p read", arch::read_byte(m2p), Outcome::Done);
    verdict.check("m2p write", arch::write_byte(m2p), Outcome::Fault(PF, 3));
    verdict.check(
        "non-canonical",
        arch::read_byte(NON_CANONICAL),
        Outcome::Fault(GP, 0),
    );
    verdict.check("null", arch::write_byte(0), Outcome::Fault(PF, 2));
}

fn returns(verdict: &mut Verdict) {
    // All but TF and AC, which would fault by themselves.
    let (outcome, flags) = arch::iret(None, CS, SS, !(1 << 8 | 1 << 18));
    verdict.check("iret with all flags", outcome, Outcome::Done);
    verdict.check("iret sanitises", flags & (IOPL | VM | IF), IF);
    let (outcome, flags) = arch::iret(None, CS, SS, 0);
    verdict.check(
        "iret without IF",
        (outcome, flags & IF),
        (Outcome::Done, IF),
    );
    let (outcome, _) = arch::iret(Some(NON_CANONICAL), CS, SS, IF);
    verdict.check(
        "iret to non-canonical",
        matches!(outcome, Outcome::Fault(GP, _)),
        true,
    );
    for cs in [0xe008, 0xe040, 0, 0xfff8] {
        let (outcome, _) = arch::iret(None, cs, SS, IF);
        verdict.check(
            "iret with a bad CS",
            matches!(outcome, Outcome::Fault(GP, _)),
            true,
        );
    }
    for ss in [0xe010, 0xe050, 0xfff8] {
        let (outcome, _) = arch::iret(None, CS, ss, IF);
        verdict.check(
            "iret with a bad SS",
            matches!(outcome, Outcome::Fault(GP, _)),
            true,
        );
    }
    let (outcome, _) = arch::iret(Some(CORE), CS, SS, IF);
    verdict.check(
        "iret into the core",
        matches!(outcome, Outcome::Fault(PF, _)),
        true,
    );
}

fn interrupts(verdict: &mut Verdict) {
    for vector in (0..=255).filter(|vector| !matches!(vector, 3 | 4)) {
        let outcome = arch::software_interrupt(vector);
        verdict.check(
            "int n",
            matches!(outcome, Outcome::Fault(GP, code) if code & 2 != 0),
            true,
        );
    }
    verdict.check("mov ss; syscall", arch::mov_ss_hypercall(), Outcome::Done);
}

fn registers(verdict: &mut Verdict) {
    let refused = Outcome::Fault(GP, 0);
    for number in [0xc000_0100, 0xc000_0101, 0xc000_0102] {
        verdict.check(
            "non-canonical base",
            arch::write_msr(number, NON_CANONICAL),
            refused,
        );
    }
    // STAR, LSTAR, CSTAR, SFMASK, SYSENTER, EFER, the APIC, the page attributes.
    let core_owned = [
        0xc000_0081,
        0xc000_0082,
        0xc000_0083,
        0xc000_0084,
        0x174,
        0x175,
        0x176,
        0xc000_0080,
        0x1b,
        0x277,
    ];
    for number in core_owned {
        verdict.check("the core's MSR", arch::write_msr(number, 0), refused);
    }
    for number in (0..0x2000)
        .chain(0xc000_0000..0xc000_0200)
        .chain(0xc001_0000..0xc001_0100)
    {
        arch::read_msr(number);
    }
    verdict.check("breakpoint in the core", arch::write_dr0(CORE), refused);
    for (number, value) in [(0, CORE), (7, 1 << 13), (7, 0x2_0001)] {
        let got = arch::hypercall(Hypercall::SetDebugreg, [number, value, 0, 0, 0]);
        verdict.check("set_debugreg", got, EPERM);
    }
    for which in [0, 1, 2] {
        let got = arch::hypercall(Hypercall::SetSegmentBase, [which, NON_CANONICAL, 0, 0, 0]);
        verdict.check("set_segment_base", got, EINVAL);
    }
    for selector in [0xe00b, 0xe013, 0xe043, 0xe053] {
        let got = arch::load_ds(selector);
        verdict.check(
            "the core's selector",
            matches!(got, Outcome::Fault(GP, _)),
            true,
        );
    }
}

fn tables(verdict: &mut Verdict) {
    for address in [CORE, NON_CANONICAL] {
        let mut info = [TrapInfo::default(); 2];
        info[0].vector = 40;
        info[0].address = GuestVirtAddr::new(address);
        let got = arch::hypercall(Hypercall::SetTrapTable, [lend(&mut info), 0, 0, 0, 0]);
        verdict.check("trap into the core", got, EINVAL);
        let mut callback = CallbackRegister {
            kind: CallbackType::Event.number(),
            address: GuestVirtAddr::new(address),
            ..CallbackRegister::default()
        };
        let register = u64::from(CallbackOp::Register.number());
        let got = arch::hypercall(
            Hypercall::CallbackOp,
            [register, lend(&mut callback), 0, 0, 0],
        );
        verdict.check("callback into the core", got, EINVAL);
    }
    let got = arch::hypercall(Hypercall::SetGdt, [0, 7169, 0, 0, 0]);
    verdict.check("a GDT that is too long", got, EINVAL);
    for descriptor in [
        0x0000_8900_0000_0067,
        0x0000_ec00_0008_0000,
        0x0000_8200_0000_ffff,
    ] {
        let got = arch::hypercall(Hypercall::UpdateDescriptor, [0, descriptor, 0, 0, 0]);
        verdict.check("a system descriptor", got, EINVAL);
    }
    let got = arch::hypercall(Hypercall::UpdateDescriptor, [4, 0, 0, 0, 0]);
    verdict.check("a misaligned descriptor", got, EINVAL);
}

fn batches(verdict: &mut Verdict) {
    let mut inner = [MulticallEntry::default()];
    inner[0].op = Hypercall::XenVersion.number();
    let mut batch = [MulticallEntry::default(); 3];
    batch[0].op = Hypercall::Iret.number();
    batch[1].op = Hypercall::Multicall.number();
    batch[1].args = [lend(&mut inner), 1, 0, 0, 0, 0];
    batch[2].op = Hypercall::XenVersion.number();
    let got = arch::hypercall(Hypercall::Multicall, [lend(&mut batch), 3, 0, 0, 0]);
    verdict.check("multicall", got, 0);
    verdict.check("iret in a batch", batch[0].result, ENOSYS);
    verdict.check("a batch in a batch", batch[1].result, EINVAL);
    verdict.check("the rest of the batch", batch[2].result, 0x4_0011);
    let got = arch::hypercall(Hypercall::Multicall, [CORE, u64::from(u32::MAX), 0, 0, 0]);
    verdict.check("a batch in the core", got, -14);
}

fn lend<T: ?Sized>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64
}
