//! Segment selectors and the bases behind them, and MSRs that may not exist.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use guest_abi::vcpu::CpuUserRegs;

use crate::trap::context::Bases;
use crate::trap::machine::BaseRegister;

const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;

/// Some CPU leaves the base of FS or GS as it is when a null selector is loaded.
static NULL_KEEPS_BASE: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    safe fn guarded_load_ds(selector: u32) -> u32;
    safe fn guarded_load_es(selector: u32) -> u32;
    safe fn guarded_load_fs(selector: u32) -> u32;
    safe fn guarded_load_gs(selector: u32) -> u32;
    fn guarded_rdmsr(number: u32, value: *mut u64) -> u32;
    fn guarded_wrmsr(number: u32, value: u64) -> u32;
}

/// Finds out what a null selector does to the base behind it on this CPU, where no guest runs yet.
pub(super) fn init_cpu() {
    set_base(BaseRegister::Fs, 1);
    guarded_load_fs(0);
    if base(BaseRegister::Fs) != 0 {
        NULL_KEEPS_BASE.store(true, Ordering::Relaxed);
        set_base(BaseRegister::Fs, 0);
    }
}

/// Whether a null selector clears the base behind it, on all CPUs. It does on Intel's and on
/// recent ones of AMD's, not all of which say so.
pub(super) fn null_clears_base() -> bool {
    !NULL_KEEPS_BASE.load(Ordering::Relaxed)
}

/// An MSR, if this CPU has it.
pub(super) fn read_msr(number: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: reading an MSR changes nothing, and a fault is caught.
    let failed = unsafe { guarded_rdmsr(number, &raw mut value) };
    (failed == 0).then_some(value)
}

/// Writes an MSR; says whether this CPU took it.
///
/// # Safety
/// The register's new value must not take anything from under the core's feet.
pub(super) unsafe fn write_msr(number: u32, value: u64) -> bool {
    // SAFETY: the caller's promise; a fault is caught.
    unsafe { guarded_wrmsr(number, value) == 0 }
}

const fn msr_of(register: BaseRegister) -> u32 {
    match register {
        BaseRegister::Fs => FS_BASE,
        BaseRegister::GsActive => GS_BASE,
        BaseRegister::GsInactive => KERNEL_GS_BASE,
    }
}

/// A segment base.
pub(super) fn base(register: BaseRegister) -> u64 {
    read_msr(msr_of(register)).unwrap_or(0)
}

/// Sets a segment base. One that is not canonical is refused by the CPU.
pub(super) fn set_base(register: BaseRegister, base: u64) {
    // SAFETY: the core uses neither FS nor GS.
    unsafe { write_msr(msr_of(register), base) };
}

/// Sets what RDTSCP and RDPID tell.
pub(super) fn set_tsc_aux(value: u32) {
    // SAFETY: the core does not ask. CPUs without the register refuse it.
    unsafe { write_msr(TSC_AUX, value.into()) };
}

/// Exchanges the two GS bases.
pub(super) fn swap_gs() {
    // SAFETY: the core uses no GS.
    unsafe { asm!("swapgs", options(nomem, nostack, preserves_flags)) };
}

/// Loads a selector into the GS of the other mode; a bad one becomes null.
pub(super) fn load_inactive_gs(selector: u16) {
    swap_gs();
    if guarded_load_gs(selector.into()) != 0 {
        guarded_load_gs(0);
    }
    swap_gs();
}

/// Notes the selectors in use.
pub(super) fn save_selectors(regs: &mut CpuUserRegs) {
    // SAFETY: these only read.
    unsafe { asm!("mov {:x}, ds", out(reg) regs.ds, options(nomem, nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("mov {:x}, es", out(reg) regs.es, options(nomem, nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("mov {:x}, fs", out(reg) regs.fs, options(nomem, nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("mov {:x}, gs", out(reg) regs.gs, options(nomem, nostack, preserves_flags)) };
}

/// Loads the selectors of `regs`; those that the descriptor tables no longer allow become null.
/// Says whether all were good. The bases of FS and GS are undefined afterwards.
pub(super) fn load_selectors(regs: &CpuUserRegs) -> bool {
    let load = |load: extern "C" fn(u32) -> u32, selector: u16| {
        let good = load(selector.into()) == 0;
        if !good {
            load(0);
        }
        good
    };
    let ds = load(guarded_load_ds, regs.ds);
    let es = load(guarded_load_es, regs.es);
    let fs = load(guarded_load_fs, regs.fs);
    let gs = load(guarded_load_gs, regs.gs);
    ds && es && fs && gs
}

/// The three bases, seen from the virtual mode.
pub(super) fn save_bases(in_kernel: bool) -> Bases {
    let (active, inactive) = (base(BaseRegister::GsActive), base(BaseRegister::GsInactive));
    let (gs_kernel, gs_user) = if in_kernel {
        (active, inactive)
    } else {
        (inactive, active)
    };
    Bases {
        fs: base(BaseRegister::Fs),
        gs_kernel,
        gs_user,
    }
}

/// Loads the three bases for the virtual mode.
pub(super) fn load_bases(bases: Bases, in_kernel: bool) {
    let (active, inactive) = if in_kernel {
        (bases.gs_kernel, bases.gs_user)
    } else {
        (bases.gs_user, bases.gs_kernel)
    };
    set_base(BaseRegister::Fs, bases.fs);
    set_base(BaseRegister::GsActive, active);
    set_base(BaseRegister::GsInactive, inactive);
}

/// Whether `selector` names a 64-bit code segment that ring 3 may use.
pub(super) fn is_64bit_code(selector: u16) -> bool {
    /// "L" in what LAR answers: bit 21, as in the descriptor's second half.
    const LONG: u32 = 1 << 21;
    let rights: u32;
    let valid: u8;
    // SAFETY: LAR only looks into the descriptor tables and never faults on a selector.
    unsafe {
        asm!("lar {0:e}, {2:e}", "setz {1}", out(reg) rights, out(reg_byte) valid,
            in(reg) u32::from(selector), options(nostack));
    }
    valid != 0 && rights & LONG != 0
}
