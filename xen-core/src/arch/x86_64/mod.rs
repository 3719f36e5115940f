//! The machine.
//!
//! Start-up runs through [`start`]: loader → `boot.S` → `boot_start` → the boot CPU's own stack →
//! `boot_on_stack`, which sets up everything below and ends in the first domain.

pub mod apic;
pub mod backtrace;
pub mod clock;
pub mod context;
mod core_trap;
mod debugreg;
pub mod direct_map;
mod entry;
mod exit;
mod fpu;
pub mod frames;
pub mod gdt;
pub mod guest_memory;
mod heap;
mod idt;
pub mod image;
pub mod io;
pub mod ioapic;
pub mod irq;
pub mod m2p;
pub mod machine;
pub mod modules;
pub mod msi;
pub mod paging;
pub mod percpu;
mod pit;
pub mod power;
mod rtc;
mod segments;
pub mod serial;
mod smp;
mod start;
pub mod timer;
pub mod tlb;
pub mod vectors;
mod walk;
pub mod windows;

pub use heap::heap_bytes;
pub use percpu::this_cpu;
pub use tlb::poll;

/// Sleeps until an interrupt has been served. Interrupts are off before and after.
pub fn wait_for_interrupt() {
    x86_64::instructions::interrupts::enable_and_hlt();
    x86_64::instructions::interrupts::disable();
}

/// The lower half of a word.
#[expect(clippy::cast_possible_truncation, reason = "the rest is not wanted")]
const fn low_half(word: u64) -> u32 {
    word as u32
}

/// The CPU's answer to CPUID.
pub fn cpuid(leaf: u32, subleaf: u32) -> core::arch::x86_64::CpuidResult {
    core::arch::x86_64::__cpuid_count(leaf, subleaf)
}

/// Where the direct map shows a frame of RAM.
pub(super) fn frame_address(mfn: guest_abi::frame::Mfn) -> *mut u8 {
    direct_map::pointer(mfn.to_maddr())
}
