//! From assembly into Rust: what traps, system calls and hypercalls come to.
//!
//! Every function named in `entry.S` and `trap.S` gets the frame: the guest's registers at the top
//! of the CPU's stack region. While one of them runs, nobody else touches the frame but the switch
//! to another vCPU, at the end. Each path out ends in [`exit::leave`](super::exit::leave).

use core::arch::global_asm;
use core::mem::offset_of;

use guest_abi::vcpu::CpuUserRegs;
use guest_abi::vm_assist::AssistType;
use x86_64::registers::control::Cr2;

use super::percpu::CpuInfo;
use super::{core_trap, debugreg, exit, gdt, irq, segments};
use crate::arch::layout::STACKS_BASE;
use crate::arch::machine::Hardware;
use crate::cpu::{CpuId, MAX_CPUS};
use crate::domain::VcpuRef;
use crate::effect::CrashReason;
use crate::trap::bounce::{VECTOR_SYSCALL, VECTOR_SYSCALL32};
use crate::trap::emulate::Emulator;
use crate::trap::exception::{self, Exception};
use crate::trap::guest_tables::GuestTables;
use crate::trap::state::Offsets;
use crate::trap::{self, flags, vector};
use crate::{hypercall, sched};

/// Bytes of SYSCALL.
const SYSCALL_LENGTH: u64 = 2;

global_asm!(
    include_str!("entry.S"),
    include_str!("trap.S"),
    include_str!("guarded.S"),
    r15 = const offset_of!(CpuUserRegs, r15),
    r14 = const offset_of!(CpuUserRegs, r14),
    r13 = const offset_of!(CpuUserRegs, r13),
    r12 = const offset_of!(CpuUserRegs, r12),
    rbp = const offset_of!(CpuUserRegs, rbp),
    rbx = const offset_of!(CpuUserRegs, rbx),
    r11 = const offset_of!(CpuUserRegs, r11),
    r10 = const offset_of!(CpuUserRegs, r10),
    r9 = const offset_of!(CpuUserRegs, r9),
    r8 = const offset_of!(CpuUserRegs, r8),
    rax = const offset_of!(CpuUserRegs, rax),
    rcx = const offset_of!(CpuUserRegs, rcx),
    rdx = const offset_of!(CpuUserRegs, rdx),
    rsi = const offset_of!(CpuUserRegs, rsi),
    rdi = const offset_of!(CpuUserRegs, rdi),
    error_code = const offset_of!(CpuUserRegs, error_code),
    vector = const offset_of!(CpuUserRegs, entry_vector),
    rip = const offset_of!(CpuUserRegs, rip),
    cs = const offset_of!(CpuUserRegs, cs),
    rflags = const offset_of!(CpuUserRegs, rflags),
    rsp_slot = const offset_of!(CpuUserRegs, rsp),
    ss = const offset_of!(CpuUserRegs, ss),
    entry_state = const offset_of!(CpuInfo, entry_state),
    info_size = const size_of::<CpuInfo>(),
    stacks = const STACKS_BASE,
    max_cpus = const MAX_CPUS,
    in_kernel = const Offsets::IN_KERNEL,
    fast_syscall = const Offsets::FAST_SYSCALL,
    fast_iret = const Offsets::FAST_IRET,
    kernel_root = const Offsets::KERNEL_ROOT,
    user_root = const Offsets::USER_ROOT,
    kernel_sp = const Offsets::KERNEL_SP,
    vcpu_info = const Offsets::VCPU_INFO,
    syscall_callback = const Offsets::SYSCALL_CALLBACK,
    guest_trap = sym guest_trap,
    guest_hypercall = sym guest_hypercall,
    guest_system_call = sym guest_system_call,
    guest_bounce_fault = sym guest_bounce_fault,
    guest_iret_fault = sym guest_iret_fault,
    leave = sym exit::leave,
    core_trap = sym core_trap::core_trap,
    ist_trap = sym core_trap::ist_trap,
);

unsafe extern "C" {
    static syscall_stubs: u8;
    static syscall32_stubs: u8;
}

/// Bytes of a stub in `syscall_stubs` and `syscall32_stubs`.
const STUB: u64 = 32;

/// Where SYSCALL is to enter on a CPU: from 64-bit code, and from compatibility mode.
fn syscall_entries(cpu: CpuId) -> [u64; 2] {
    let offset = STUB * cpu.index() as u64;
    [
        &raw const syscall_stubs as u64 + offset,
        &raw const syscall32_stubs as u64 + offset,
    ]
}

const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const SFMASK: u32 = 0xc000_0084;
const SYSENTER_CS: u32 = 0x174;
/// RFLAGS cleared on entry by SYSCALL: all but the arithmetic ones.
const CLEARED_BY_SYSCALL: u64 =
    flags::TF | flags::IF | flags::DF | flags::IOPL | flags::NT | flags::RF | flags::AC;

/// Makes SYSCALL enter the stubs on this CPU, and SYSENTER fault.
pub(super) fn init_cpu(cpu: CpuId) {
    let [long, compatible] = syscall_entries(cpu);
    // SYSCALL loads CS and SS from one selector and the next; SYSRET to 64-bit code adds 16 and 8.
    let selectors = u64::from(gdt::FLAT_CS32) << 48 | u64::from(gdt::CORE_CS) << 32;
    let values = [
        (STAR, selectors),
        (LSTAR, long),
        (CSTAR, compatible),
        (SFMASK, CLEARED_BY_SYSCALL),
        // A null selector: SYSENTER raises #GP.
        (SYSENTER_CS, 0),
    ];
    for (number, value) in values {
        // SAFETY: the stubs and selectors are the core's own and stay for good.
        let taken = unsafe { segments::write_msr(number, value) };
        debug_assert!(taken || number == SYSENTER_CS);
    }
}

/// The frame, as a reference for the length of a call into safe code.
///
/// # Safety
/// `frame` is this CPU's frame, and no other reference to it is alive.
unsafe fn regs<'a>(frame: *mut CpuUserRegs) -> &'a mut CpuUserRegs {
    // SAFETY: the caller's promise; the frame lies in the CPU's region for good.
    unsafe { &mut *frame }
}

/// An exception or interrupt of the guest.
extern "C" fn guest_trap(frame: *mut CpuUserRegs) {
    // Before anything else can fault.
    let cr2 = Cr2::read_raw();
    // SAFETY: `frame` comes from the assembly, which keeps no reference.
    let entry = unsafe { regs(frame) };
    match entry.entry_vector {
        VECTOR_SYSCALL32 => {
            entry.rip = entry.rip.wrapping_sub(SYSCALL_LENGTH);
            raise(
                entry,
                Exception {
                    vector: vector::INVALID_OPCODE,
                    error_code: 0,
                    detail: 0,
                },
            );
        }
        number => match u8::try_from(number).unwrap_or(vector::GENERAL_PROTECTION) {
            external if is_external(external) => irq::dispatch(external),
            internal => {
                let detail = match internal {
                    vector::PAGE_FAULT => cr2,
                    vector::DEBUG => debugreg::take_status(),
                    _ => 0,
                };
                let error_code = entry.error_code;
                on_exception(
                    entry,
                    Exception {
                        vector: internal,
                        error_code,
                        detail,
                    },
                );
            }
        },
    }
    exit::leave(frame);
}

const fn is_external(number: u8) -> bool {
    number >= vector::FIRST_EXTERNAL && number != vector::LEGACY_SYSCALL
}

/// A hypercall.
extern "C" fn guest_hypercall(frame: *mut CpuUserRegs) {
    if carry_out(frame) {
        core_trap::reset_retries();
    } else {
        exit::leave(frame);
    }
}

/// Carries the hypercall out; says whether the guest may go on at once. Nothing of the vCPU is
/// held on to afterwards, because another may run before this one does.
fn carry_out(frame: *mut CpuUserRegs) -> bool {
    let is_quiet = sched::with_current(|vcpu| {
        // SAFETY: `frame` comes from the assembly, which keeps no reference.
        let regs = unsafe { regs(frame) };
        match hypercall::enter(vcpu, regs) {
            Ok(()) => exit::is_quiet(vcpu),
            Err(reason) => {
                crash(vcpu, regs, reason);
                false
            }
        }
    });
    is_quiet.unwrap_or(false)
}

/// A system call that the assembly would not bounce by itself.
extern "C" fn guest_system_call(frame: *mut CpuUserRegs) {
    // SAFETY: `frame` comes from the assembly, which keeps no reference.
    let entry = unsafe { regs(frame) };
    if let Some(vcpu) = sched::current() {
        match trap::exit::deliver_system_call(entry, &vcpu.entry, &Hardware) {
            Ok(true) => {}
            Ok(false) => {
                entry.rip = entry.rip.wrapping_sub(SYSCALL_LENGTH);
                entry.entry_vector = vector::INVALID_OPCODE.into();
                let undefined = vector::INVALID_OPCODE;
                raise(
                    entry,
                    Exception {
                        vector: undefined,
                        error_code: 0,
                        detail: 0,
                    },
                );
            }
            Err(reason) => crash(&vcpu, entry, reason),
        }
    }
    exit::leave(frame);
}

/// The assembly could not write the frame of a system call; the vCPU is in kernel mode.
extern "C" fn guest_bounce_fault(frame: *mut CpuUserRegs) {
    if let Some(vcpu) = sched::current() {
        let rsp = vcpu.entry.kernel_stack().1;
        // SAFETY: `frame` comes from the assembly, which keeps no reference.
        crash(&vcpu, unsafe { regs(frame) }, CrashReason::BadStack { rsp });
    }
    exit::leave(frame);
}

/// The way out of the core faulted: the guest asked for a state that does not exist. It gets the
/// fault in the state it asked for.
extern "C" fn guest_iret_fault(frame: *mut CpuUserRegs) {
    // SAFETY: `frame` comes from the assembly, which keeps no reference.
    let entry = unsafe { regs(frame) };
    let error_code = entry.error_code;
    entry.entry_vector = vector::GENERAL_PROTECTION.into();
    raise(
        entry,
        Exception {
            vector: vector::GENERAL_PROTECTION,
            error_code,
            detail: 0,
        },
    );
    exit::leave(frame);
}

fn on_exception(entry: &mut CpuUserRegs, what: Exception) {
    with_emulator(entry, |vcpu, guest| {
        let domain = vcpu.domain();
        let assisted = domain.assists(AssistType::WritablePagetables.number());
        let mut tables = assisted.then(|| GuestTables::new(vcpu));
        exception::handle(what, guest, tables.as_mut())
    });
}

fn raise(entry: &mut CpuUserRegs, what: Exception) {
    with_emulator(entry, |_, guest| exception::raise(what, guest));
}

/// Works on the running vCPU with its context locked, and ends the domain if that fails.
pub(super) fn with_emulator(
    entry: &mut CpuUserRegs,
    work: impl FnOnce(&VcpuRef, &mut Emulator<'_, Hardware>) -> Result<(), CrashReason>,
) {
    let Some(vcpu) = sched::current() else {
        return;
    };
    let result = {
        let mut context = vcpu.context.lock();
        let mut guest = Emulator {
            regs: &mut *entry,
            entry: &vcpu.entry,
            context: &mut context,
            machine: &Hardware,
            privileged: vcpu.domain().privileged,
            is_first_vcpu: vcpu.id.get() == 0,
        };
        work(&vcpu, &mut guest)
    };
    if let Err(reason) = result {
        crash(&vcpu, entry, reason);
    }
}

/// Ends the domain of a vCPU that went past trusting, with its registers in the log.
pub(super) fn crash(vcpu: &VcpuRef, regs: &CpuUserRegs, reason: CrashReason) {
    let mode = if vcpu.entry.in_kernel() {
        "kernel"
    } else {
        "user"
    };
    log::warn!(
        "{vcpu}: {mode} mode, trap {:#x} error {:#x}",
        regs.entry_vector,
        regs.error_code
    );
    log::warn!(
        "{vcpu}: rip {:#x}:{:#x} rsp {:#x}:{:#x} rflags {:#x}",
        regs.cs,
        regs.rip,
        regs.ss,
        regs.rsp,
        regs.rflags
    );
    log::warn!(
        "{vcpu}: rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x} rsi {:#x} rdi {:#x} rbp {:#x}",
        regs.rax,
        regs.rbx,
        regs.rcx,
        regs.rdx,
        regs.rsi,
        regs.rdi,
        regs.rbp
    );
    log::warn!(
        "{vcpu}: r8 {:#x} r9 {:#x} r10 {:#x} r11 {:#x} r12 {:#x} r13 {:#x} r14 {:#x} r15 {:#x}",
        regs.r8,
        regs.r9,
        regs.r10,
        regs.r11,
        regs.r12,
        regs.r13,
        regs.r14,
        regs.r15
    );
    vcpu.domain().crash(Some(vcpu.id), reason);
}

// The assembly tells a hypercall by this entry_vector.
const _: () = assert!(VECTOR_SYSCALL == 0x100 && VECTOR_SYSCALL32 == 0x101);
