//! Traps of the core itself: interrupts of an idle CPU, accesses to guest memory that fault, and
//! bugs.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::frame::GuestVirtAddr;
use guest_abi::vcpu::CpuUserRegs;
use x86_64::registers::control::Cr2;

use super::percpu::{frame_of_this_cpu, this_cpu};
use super::{context, debugreg, guest_memory, irq, power, walk};
use crate::cpu::MAX_CPUS;
use crate::debug::backtrace::{CodeAddress, die, say};
use crate::trap::vector;

unsafe extern "C" {
    static fixup_table: u8;
    static fixup_table_end: u8;
    static final_iret: u8;
}

/// Tells the assembly to resume at the frame's rip.
const RESUME: u32 = 0;
/// Tells the assembly that the guest's frame is complete again and the guest gets the fault.
const IRET_FAILED: u32 = 1;
/// How often the same access may be repeated because the tables say it is allowed.
const MAX_RETRIES: u64 = 4;

/// The last access of each CPU that was repeated, and how often. Cleared on the way to a guest.
static RETRIED: [[AtomicU64; 2]; MAX_CPUS] =
    [const { [AtomicU64::new(0), AtomicU64::new(0)] }; MAX_CPUS];

/// A trap taken in ring 0.
pub(super) extern "C" fn core_trap(frame: &mut CpuUserRegs) -> u32 {
    let cr2 = Cr2::read_raw();
    let number = u8::try_from(frame.entry_vector).unwrap_or(vector::GENERAL_PROTECTION);
    match number {
        vector::DEBUG => {
            // A guest's data breakpoint, hit by the core on the guest's memory.
            debugreg::take_status();
            RESUME
        }
        vector::FIRST_EXTERNAL.. => {
            irq::dispatch(number);
            context::drop_if_asked();
            RESUME
        }
        vector::PAGE_FAULT if can_recover(frame.rip) && may_retry(cr2, frame.error_code) => RESUME,
        _ if frame.rip == &raw const final_iret as u64 => {
            take_back_registers(frame);
            IRET_FAILED
        }
        _ => match fixup(frame.rip) {
            Some(rip) => {
                frame.rip = rip;
                RESUME
            }
            None => fail(frame, cr2),
        },
    }
}

/// NMI, double fault, machine check.
pub(super) extern "C" fn ist_trap(frame: &CpuUserRegs) {
    match u8::try_from(frame.entry_vector) {
        // Another CPU has failed and stops us, or somebody pressed a button.
        Ok(vector::NMI) => power::on_nmi(),
        _ => fail(frame, Cr2::read_raw()),
    }
}

fn can_recover(rip: u64) -> bool {
    fixup(rip).is_some()
}

/// Where to go on after a fault at `rip`, if faults are expected there.
fn fixup(rip: u64) -> Option<u64> {
    guest_memory::fixup(rip).or_else(|| {
        fixup_entries()
            .find(|[start, end, _]| (*start..*end).contains(&rip))
            .map(|[_, _, target]| target)
    })
}

fn fixup_entries() -> impl Iterator<Item = [u64; 3]> {
    let (start, end) = (
        &raw const fixup_table as usize,
        &raw const fixup_table_end as usize,
    );
    let entry = size_of::<[u64; 3]>();
    (start..end).step_by(entry).map(|at| {
        // SAFETY: read-only data of the image: whole entries between the two symbols.
        unsafe { (at as *const [u64; 3]).read() }
    })
}

/// Whether a fault on guest memory was due to a stale translation. The tables can lag behind only
/// once; a second fault means that the processor sees them otherwise.
fn may_retry(address: u64, error_code: u32) -> bool {
    let root = super::tlb::current_root();
    if !walk::allows(root, GuestVirtAddr::new(address), error_code) {
        return false;
    }
    let [last, count] = &RETRIED[this_cpu().index()];
    if last.swap(address, Ordering::Relaxed) != address {
        count.store(0, Ordering::Relaxed);
    }
    count.fetch_add(1, Ordering::Relaxed) < MAX_RETRIES
}

/// Forgets what was repeated: the guest goes on.
pub(super) fn reset_retries() {
    RETRIED[this_cpu().index()][0].store(0, Ordering::Relaxed);
}

/// The registers were the guest's already when the way out faulted: back into the frame with them.
/// Its part from rip on is still there; the processor pushed over the rest.
fn take_back_registers(frame: &CpuUserRegs) {
    // The two overlap: copy first.
    let copy = *frame;
    let guest = frame_of_this_cpu();
    // SAFETY: the frame lies in this CPU's region for good, and nobody else uses it now.
    let kept = unsafe { guest.read() };
    let merged = CpuUserRegs {
        rip: kept.rip,
        cs: kept.cs,
        saved_upcall_mask: kept.saved_upcall_mask,
        rflags: kept.rflags,
        rsp: kept.rsp,
        ss: kept.ss,
        es: kept.es,
        ds: kept.ds,
        fs: kept.fs,
        gs: kept.gs,
        ..copy
    };
    // SAFETY: as above.
    unsafe { guest.write(merged) };
}

/// The core has a bug: says what is known and stops the machine.
fn fail(frame: &CpuUserRegs, cr2: u64) -> ! {
    let (number, error_code) = (frame.entry_vector, frame.error_code);
    let what = format_args!("trap {number} in the core (error code {error_code:#x})");
    let details = || {
        say(format_args!(
            "at {} cr2 {cr2:#x} on CPU {}",
            CodeAddress(frame.rip),
            this_cpu()
        ));
        say(format_args!(
            "rflags {:#x} rsp {:#x} rbp {:#x}",
            frame.rflags, frame.rsp, frame.rbp
        ));
        say(format_args!(
            "rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x} rsi {:#x} rdi {:#x}",
            frame.rax, frame.rbx, frame.rcx, frame.rdx, frame.rsi, frame.rdi
        ));
        say(format_args!(
            "r8 {:#x} r9 {:#x} r10 {:#x} r11 {:#x} r12 {:#x} r13 {:#x} r14 {:#x} r15 {:#x}",
            frame.r8, frame.r9, frame.r10, frame.r11, frame.r12, frame.r13, frame.r14, frame.r15
        ));
    };
    die(what, details, frame.rbp)
}
