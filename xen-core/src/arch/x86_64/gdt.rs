//! The descriptor tables of a CPU: its descriptor window, task-state segment, and the MSRs that
//! name selectors.
//!
//! GDTR points at the CPU's window. Its pages 0 to 13 show the GDT frames of the vCPU that is
//! loaded, page 14 is the CPU's own and holds what Xen's ABI promises (the flat guest selectors)
//! and what the core itself needs.

use core::arch::asm;

use guest_abi::frame::{MachAddr, Mfn};
use x86_64::PrivilegeLevel;
use x86_64::VirtAddr;
use x86_64::instructions::tables::{lgdt, load_tss};
use x86_64::registers::segmentation::{CS, SS, Segment, SegmentSelector};
use x86_64::structures::DescriptorTablePointer;

use super::{direct_map, percpu};
use crate::arch::layout::{WINDOW, WINDOW_LDT, WINDOWS_BASE};
use crate::cpu::CpuId;

/// The selector of the first descriptor in the CPU's own page.
pub const RESERVED_GDT: u16 = 0xe000;
/// Ring-0 code.
pub const CORE_CS: u16 = 0xe008;
/// Ring-0 data.
pub const CORE_SS: u16 = 0xe010;
/// 32-bit ring-3 code.
pub const FLAT_CS32: u16 = 0xe023;
/// Ring-3 data and stack.
pub const FLAT_SS: u16 = 0xe02b;
/// 64-bit ring-3 code.
pub const FLAT_CS64: u16 = 0xe033;
/// The task-state segment.
pub const TSS: u16 = 0xe040;
/// The loaded vCPU's LDT.
pub const LDT: u16 = 0xe050;
/// The page of the window that belongs to the CPU.
pub const OWN_PAGE: usize = 14;

const LIMIT: u16 = RESERVED_GDT + 0xfff;
/// Descriptor words: present, type, size, privilege (Intel SDM volume 3, section 3.4.5).
const CODE64_RING0: u64 = 0x00af_9b00_0000_ffff;
const DATA_RING0: u64 = 0x00cf_9300_0000_ffff;
const CODE32_RING3: u64 = 0x00cf_fb00_0000_ffff;
const DATA_RING3: u64 = 0x00cf_f300_0000_ffff;
const CODE64_RING3: u64 = 0x00af_fb00_0000_ffff;
const TYPE_TSS: u64 = 0x89;
const TYPE_LDT: u64 = 0x82;
/// Offsets in the task-state segment (section 8.7); it shares the own page with the descriptors.
const TSS_OFFSET: u64 = 0x800;
const TSS_BYTES: u64 = 104;
const TSS_RSP0: u64 = 4;
const TSS_IST1: u64 = 36;
const TSS_IO_MAP: u64 = 102;

/// The linear address of a CPU's GDT.
pub const fn gdt_window(cpu: CpuId) -> u64 {
    WINDOWS_BASE + cpu.index() as u64 * WINDOW
}

/// The linear address of a CPU's LDT.
pub const fn ldt_window(cpu: CpuId) -> u64 {
    gdt_window(cpu) + WINDOW_LDT
}

/// Fills a CPU's own (zeroed) descriptor page.
pub(super) fn fill_own_page(cpu: CpuId, page: Mfn) {
    let base = page.to_maddr().get();
    let set = |selector: u16, word: u64| {
        let offset = u64::from(selector & 0xff8);
        direct_map::word(MachAddr::new(base + offset)).store(word, ORDER);
    };
    set(CORE_CS, CODE64_RING0);
    set(CORE_SS, DATA_RING0);
    set(FLAT_CS32, CODE32_RING3);
    set(FLAT_SS, DATA_RING3);
    set(FLAT_CS64, CODE64_RING3);
    // The segment is used through the window, which no guest can write.
    let tss = gdt_window(cpu) + u64::from(RESERVED_GDT) + TSS_OFFSET;
    let [low, high] = system_descriptor(tss, TSS_BYTES - 1, TYPE_TSS);
    set(TSS, low);
    set(TSS + 8, high);

    let field = |offset: u64, value: u64| {
        let at = MachAddr::new(base + TSS_OFFSET + offset);
        direct_map::write(at, &value.to_le_bytes());
    };
    field(TSS_RSP0, percpu::interrupt_stack(cpu));
    for (index, end) in percpu::IST_ENDS.iter().enumerate() {
        field(TSS_IST1 + 8 * index as u64, percpu::region(cpu) + end);
    }
    // No I/O permission map: each port access of ring 3 faults.
    let at = MachAddr::new(base + TSS_OFFSET + TSS_IO_MAP);
    direct_map::write(at, &0xffffu16.to_le_bytes());
}

const ORDER: core::sync::atomic::Ordering = core::sync::atomic::Ordering::Release;

/// The 16-byte descriptor of a task-state segment or LDT.
const fn system_descriptor(base: u64, limit: u64, kind: u64) -> [u64; 2] {
    let low = limit & 0xffff
        | (base & 0xff_ffff) << 16
        | kind << 40
        | (limit >> 16 & 0xf) << 48
        | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

/// Loads the CPU's GDT, its segments and its task register.
pub(super) fn load(cpu: CpuId) {
    let pointer = DescriptorTablePointer {
        limit: LIMIT,
        base: VirtAddr::new(gdt_window(cpu)),
    };
    // SAFETY: the window is mapped for good and its own page was filled.
    unsafe { lgdt(&pointer) };
    // SAFETY: a 64-bit ring-0 code segment, like the one in use.
    unsafe { CS::set_reg(selector(CORE_CS)) };
    // SAFETY: a ring-0 data segment.
    unsafe { SS::set_reg(selector(CORE_SS)) };
    // SAFETY: the task-state segment was filled and is loaded once.
    unsafe { load_tss(selector(TSS)) };
    // SAFETY: an empty LDT; a vCPU's comes with its context.
    unsafe { asm!("lldt {:x}", in(reg) 0u16, options(nostack, preserves_flags)) };
}

fn selector(value: u16) -> SegmentSelector {
    SegmentSelector::new(value >> 3, PrivilegeLevel::Ring0)
}

/// Points this CPU's LDTR at the first `entries` descriptors of its LDT window.
pub fn load_ldt(cpu: CpuId, page: Mfn, entries: u32) {
    if entries == 0 {
        // SAFETY: the null selector: no LDT.
        unsafe { asm!("lldt {:x}", in(reg) 0u16, options(nostack, preserves_flags)) };
        return;
    }
    let limit = u64::from(entries) * 8 - 1;
    let [low, high] = system_descriptor(ldt_window(cpu), limit, TYPE_LDT);
    let at = page.to_maddr().get() + u64::from(LDT & 0xff8);
    direct_map::word(MachAddr::new(at)).store(low, ORDER);
    direct_map::word(MachAddr::new(at + 8)).store(high, ORDER);
    // SAFETY: the descriptor was just written; what the window shows are validated descriptors.
    unsafe { asm!("lldt {:x}", in(reg) LDT, options(nostack, preserves_flags)) };
}
