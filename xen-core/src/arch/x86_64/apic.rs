//! The local interrupt controllers.
//!
//! Registers are reached through MSRs in x2APIC mode, else through the page at the start of the
//! device mappings. Numbers of registers, bits and modes: Intel SDM volume 3, chapter 11.

use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::registers::model_specific::Msr;

use super::paging::{self, bits};
use super::{low_half, percpu, vectors};
use crate::arch::layout::DEVICES_BASE;
use crate::cpu::{CpuId, MAX_CPUS};

const APIC_BASE: Msr = Msr::new(0x1b);
const ENABLE: u64 = 1 << 11;
const ENABLE_X2: u64 = 1 << 10;
const X2_MSRS: u32 = 0x800;

const ID: u32 = 0x02;
const TASK_PRIORITY: u32 = 0x08;
const END_OF_INTERRUPT: u32 = 0x0b;
const LOGICAL_DESTINATION: u32 = 0x0d;
const SPURIOUS: u32 = 0x0f;
const ERROR_STATUS: u32 = 0x28;
const COMMAND: u32 = 0x30;
const COMMAND_HIGH: u32 = 0x31;
const LVT_TIMER: u32 = 0x32;
const LVT_PERFORMANCE: u32 = 0x34;
const LVT_LINT0: u32 = 0x35;
const LVT_LINT1: u32 = 0x36;
const LVT_ERROR: u32 = 0x37;
const TIMER_INITIAL: u32 = 0x38;
const TIMER_CURRENT: u32 = 0x39;
const TIMER_DIVIDE: u32 = 0x3e;

const SOFTWARE_ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const NMI: u32 = 4 << 8;
const INIT: u32 = 5 << 8;
const STARTUP: u32 = 6 << 8;
const ASSERT: u32 = 1 << 14;
const DELIVERY_PENDING: u32 = 1 << 12;
const DIVIDE_BY_1: u32 = 0b1011;

static X2: AtomicBool = AtomicBool::new(false);

/// Finds out how to reach the controllers, whose registers lie at `address`; once.
pub(super) fn find(address: u64) -> bool {
    let features = super::cpuid(1, 0);
    X2.store(features.ecx & 1 << 21 != 0, Ordering::Relaxed);
    paging::map(DEVICES_BASE, address, bits::DATA | bits::UNCACHED)
}

/// Whether the controllers run in x2APIC mode.
pub fn is_x2() -> bool {
    X2.load(Ordering::Relaxed)
}

/// Enables this CPU's controller; returns its id.
pub(super) fn init_cpu() -> u32 {
    let mut base = APIC_BASE;
    // SAFETY: the register exists wherever long mode does.
    let value = unsafe { base.read() };
    let mode = if is_x2() { ENABLE | ENABLE_X2 } else { ENABLE };
    // SAFETY: enabling the controller where the firmware has it; it delivers nothing yet.
    unsafe { base.write(value | mode) };
    write(TASK_PRIORITY, 0);
    if !is_x2() {
        write(LOGICAL_DESTINATION, 0);
    }
    write(LVT_TIMER, MASKED);
    write(LVT_PERFORMANCE, MASKED);
    write(LVT_LINT0, MASKED);
    write(LVT_LINT1, NMI);
    write(ERROR_STATUS, 0);
    write(LVT_ERROR, vectors::ERROR.into());
    write(SPURIOUS, SOFTWARE_ENABLE | u32::from(vectors::SPURIOUS));
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    id()
}

/// This CPU's controller's id.
fn id() -> u32 {
    if is_x2() { read(ID) } else { read(ID) >> 24 }
}

/// Tells the controller that the interrupt is dealt with.
pub fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// The controller's error bits, which this clears.
pub(super) fn take_errors() -> u32 {
    write(ERROR_STATUS, 0);
    read(ERROR_STATUS)
}

/// Interrupts another CPU.
pub fn send(cpu: CpuId, vector: u8) {
    command(percpu::apic_id(cpu), ASSERT | u32::from(vector));
}

/// Interrupts another CPU's idle or guest, so that it looks at what it has to do.
pub fn kick(cpu: CpuId) {
    send(cpu, vectors::KICK);
}

/// Sends an NMI to another CPU.
pub(super) fn send_nmi(cpu: CpuId) {
    command(percpu::apic_id(cpu), ASSERT | NMI);
}

/// Resets a CPU that waits to be started.
pub(super) fn send_init(apic_id: u32) {
    command(apic_id, ASSERT | INIT);
}

/// Starts a CPU at a page below 1 MiB.
pub(super) fn send_startup(apic_id: u32, page: u8) {
    command(apic_id, ASSERT | STARTUP | u32::from(page));
}

fn command(apic_id: u32, command: u32) {
    if is_x2() {
        let mut msr = Msr::new(X2_MSRS + COMMAND);
        // SAFETY: an interrupt command; what the target does with it is its handler's.
        unsafe { msr.write(u64::from(apic_id) << 32 | u64::from(command)) };
        return;
    }
    while read(COMMAND) & DELIVERY_PENDING != 0 {
        core::hint::spin_loop();
    }
    write(COMMAND_HIGH, apic_id << 24);
    write(COMMAND, command);
}

/// Lets the timer run down from `ticks` once and interrupt then; 0 stops it.
pub(super) fn start_timer(ticks: u32) {
    write(TIMER_INITIAL, ticks);
}

/// What is left of the timer's ticks.
pub(super) fn timer_count() -> u32 {
    read(TIMER_CURRENT)
}

/// Enables the timer's interrupt.
pub(super) fn enable_timer(mode: u32) {
    write(LVT_TIMER, mode | u32::from(vectors::TIMER));
}

fn read(register: u32) -> u32 {
    if is_x2() {
        // SAFETY: a register that exists in x2APIC mode; reading has no effect on memory.
        let value = unsafe { Msr::new(X2_MSRS + register).read() };
        return low_half(value);
    }
    // SAFETY: the page is mapped (see `find`), registers are 16 bytes apart.
    unsafe { pointer(register).read_volatile() }
}

fn write(register: u32, value: u32) {
    if is_x2() {
        let mut msr = Msr::new(X2_MSRS + register);
        // SAFETY: a register that exists in x2APIC mode, set to a value it allows.
        unsafe { msr.write(value.into()) };
        return;
    }
    // SAFETY: the page is mapped (see `find`), registers are 16 bytes apart.
    unsafe { pointer(register).write_volatile(value) };
}

fn pointer(register: u32) -> *mut u32 {
    (DEVICES_BASE + 16 * u64::from(register)) as *mut u32
}

const _: () = assert!(MAX_CPUS <= 255);
