//! The interrupt descriptor table: one for all CPUs.
//!
//! Every gate is an interrupt gate into the stubs of `entry.S`, whose addresses stand in
//! `trap_entry_points`. Ring 3 may use `int3`, `into` and `int 0x80` itself; any other `int n` of a
//! guest faults, and the fault handler decodes it.

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

use super::gdt::CORE_CS;

/// A 64-bit interrupt gate, present.
const INTERRUPT_GATE: u64 = 0x8e00;
/// Vectors that ring 3 may raise: breakpoint, overflow, Linux's old system call.
const OPEN_TO_GUESTS: [usize; 3] = [3, 4, 0x80];
/// Vectors with stacks of their own, and which: double fault, NMI, machine check, and #DB, which
/// `mov ss` can hold back until the first instruction of the core (CVE-2018-8897).
const OWN_STACK: [(usize, u64); 4] = [(8, 1), (2, 2), (18, 3), (1, 4)];

static TABLE: [[AtomicU64; 2]; 256] = [const { [AtomicU64::new(0), AtomicU64::new(0)] }; 256];

unsafe extern "C" {
    /// The stubs' addresses, by vector (entry.S).
    #[link_name = "trap_entry_points"]
    static TRAP_ENTRY_POINTS: [u64; 256];
}

/// Fills the table.
pub(super) fn fill() {
    // SAFETY: read-only data of the image, defined by entry.S with this shape.
    let entries = unsafe { &TRAP_ENTRY_POINTS };
    for (vector, (gate, entry)) in TABLE.iter().zip(entries).enumerate() {
        let privilege = if OPEN_TO_GUESTS.contains(&vector) {
            3
        } else {
            0
        };
        let stack = OWN_STACK
            .iter()
            .find(|(own, _)| *own == vector)
            .map_or(0, |(_, ist)| *ist);
        let low = entry & 0xffff
            | u64::from(CORE_CS) << 16
            | stack << 32
            | (INTERRUPT_GATE | privilege << 13) << 32
            | (entry >> 16 & 0xffff) << 48;
        gate[0].store(low, Ordering::Relaxed);
        gate[1].store(entry >> 32, Ordering::Relaxed);
    }
}

/// Makes this CPU use the table.
pub(super) fn load() {
    let pointer = DescriptorTablePointer {
        limit: 0xfff,
        base: VirtAddr::from_ptr(TABLE.as_ptr()),
    };
    // SAFETY: the table is a static, and was filled before the first CPU got here.
    unsafe { lidt(&pointer) };
}
