//! What each CPU has to itself: a stack region with guard pages, and [`CpuInfo`] at its top.
//!
//! ```text
//!  page  0   guard
//!        1   #DF stack (IST 1)
//!        2   guard
//!        3   NMI stack (IST 2)
//!        4   guard
//!        5   #MC stack (IST 3)
//!        6   guard
//!        7   #DB stack (IST 4)
//!        8   guard
//!        9…  main stack, 28 KiB; its last bytes are CpuInfo
//! ```
//!
//! A region is 64 KiB, aligned to its size, so any main-stack pointer rounds up to its CPU's
//! [`CpuInfo`]. The record starts with the registers of the guest that was interrupted: RSP0 of the
//! task-state segment points into it, and the CPU pushes the frame right where the fields are.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use guest_abi::vcpu::CpuUserRegs;

use crate::arch::layout::{STACK_REGION, STACKS_BASE};
use crate::cpu::{AtomicCpuMask, CpuId, CpuMask, MAX_CPUS};

/// Offsets in the region of the ends of the #DF, NMI, #MC and #DB stacks, IST 1 to 4.
pub(super) const IST_ENDS: [u64; 4] = [0x2000, 0x4000, 0x6000, 0x8000];
/// The pages of a region that are mapped.
pub(super) const MAPPED_PAGES: [u64; 11] = [1, 3, 5, 7, 9, 10, 11, 12, 13, 14, 15];

/// The record at the top of a CPU's stack region. Assembly knows its layout.
#[repr(C)]
#[derive(Debug)]
pub struct CpuInfo {
    /// The interrupted guest's registers; the hardware frame lands in `rip` to `ss`.
    pub regs: CpuUserRegs,
    /// Address of the `EntryState` of the vCPU that runs here, 0 for none.
    pub entry_state: AtomicU64,
    /// Keeps the alignment asserted below.
    spare: AtomicU64,
}

// The hardware aligns RSP0 to 16 bytes before it pushes: `es`, the field behind the frame, must
// be aligned in a record that ends at a 64 KiB boundary.
const _: () = assert!((size_of::<CpuInfo>() - offset_of!(CpuUserRegs, es)).is_multiple_of(16));
const _: () = assert!(offset_of!(CpuInfo, regs) == 0);
// The number of a region is that of its CPU.
const _: () = assert!(STACKS_BASE.is_multiple_of(STACK_REGION * MAX_CPUS as u64));

static ONLINE: AtomicCpuMask = AtomicCpuMask::new();
static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

/// The CPU this runs on: the one whose stack it is on.
#[inline]
pub fn this_cpu() -> CpuId {
    let region = this_region() / STACK_REGION;
    CpuId::try_new(region as usize % MAX_CPUS).unwrap_or(CpuId::BOOT)
}

/// Where the stack region that this runs on starts.
#[inline]
fn this_region() -> u64 {
    let stack: u64;
    // SAFETY: only reads the stack pointer. No function is entered on one region's stack and left
    // on another's, so the compiler may keep what comes of it.
    unsafe { asm!("mov {}, rsp", out(reg) stack, options(pure, nomem, nostack, preserves_flags)) };
    stack & !(STACK_REGION - 1)
}

/// This CPU's record, but for the registers (which entry and exit own).
#[inline]
pub fn cpu_info() -> &'static CpuInfo {
    // SAFETY: all of the core runs on stacks of a region (the boot stack is left before anything
    // asks), whose record is there from before its first use to the end.
    unsafe { &*info_pointer(this_region()) }
}

/// The record of the region that starts at `region`.
const fn info_pointer(region: u64) -> *mut CpuInfo {
    info_address(region) as *mut CpuInfo
}

const fn info_address(region: u64) -> u64 {
    region + STACK_REGION - size_of::<CpuInfo>() as u64
}

/// Where the guest's registers are on this CPU. They belong to entry, exit and the switch of vCPUs.
#[inline]
pub(super) fn frame_of_this_cpu() -> *mut CpuUserRegs {
    info_pointer(region(this_cpu())).cast()
}

/// Where a CPU's region starts.
pub const fn region(cpu: CpuId) -> u64 {
    STACKS_BASE + cpu.index() as u64 * STACK_REGION
}

/// Where the hardware is to push frames of interrupts from the guest.
pub const fn interrupt_stack(cpu: CpuId) -> u64 {
    info_address(region(cpu)) + offset_of!(CpuUserRegs, es) as u64
}

/// Where the core's own stack of a CPU starts (grows down from): below [`CpuInfo`].
pub const fn stack_top(cpu: CpuId) -> u64 {
    info_address(region(cpu)) & !15
}

/// The CPUs that are up.
pub fn online() -> CpuMask {
    ONLINE.load()
}

/// The local APIC's id of a CPU.
pub fn apic_id(cpu: CpuId) -> u32 {
    APIC_IDS[cpu.index()].load(Ordering::Relaxed)
}

/// Records the local APIC's id of a CPU.
pub(super) fn set_apic_id(cpu: CpuId, id: u32) {
    APIC_IDS[cpu.index()].store(id, Ordering::Relaxed);
}

/// This CPU can be sent requests from now on.
pub(super) fn set_online(cpu: CpuId) {
    ONLINE.insert(cpu);
}
