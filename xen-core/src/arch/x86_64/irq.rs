//! Interrupts: which vector stands for which of a guest's physical interrupts, and what happens
//! when one arrives.
//!
//! A level-triggered pin stays asserted until the driver, in a guest, has served the device. So it
//! is masked when it fires, and [`unmask`]ed when the guest says it is done (`PHYSDEVOP_eoi`).

use core::sync::atomic::{AtomicU64, Ordering};

use super::ioapic::{self, Wiring};
use super::{apic, low_half, serial, tlb, vectors};
use crate::cpu::CpuId;
use crate::event;
use crate::sched;
use crate::sync::SpinLock;

/// What a vector stands for, 0 for nothing: the physical interrupt's number in the lower half,
/// above it the pin's number and flags.
static SOURCES: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
static ALLOCATION: SpinLock<()> = SpinLock::new(());

const USED: u64 = 1 << 63;
const LEVEL: u64 = 1 << 62;
const PIN: u64 = 1 << 61;
const GSI_SHIFT: u32 = 32;
const GSI_MASK: u64 = 0xff_ffff;

/// An interrupt that is bound to a vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Its vector.
    pub vector: u8,
    /// The CPU that it interrupts.
    pub cpu: CpuId,
}

/// Makes the pin `gsi` stand for `pirq`; it stays masked. `None` if there is no such pin or no
/// vector left.
pub fn bind_gsi(pirq: u32, gsi: u32, wiring: Wiring, cpu: CpuId) -> Option<Bound> {
    let level = if wiring.level { LEVEL } else { 0 };
    let pin = (u64::from(gsi) & GSI_MASK) << GSI_SHIFT;
    let vector = allocate(USED | PIN | level | pin | u64::from(pirq))?;
    if !ioapic::route(gsi, vector, cpu, wiring) {
        release(vector);
        return None;
    }
    Some(Bound { vector, cpu })
}

/// Finds a vector for a message-signalled interrupt that stands for `pirq`; see [`super::msi`] for
/// what to tell the device. `None` if there is no vector left.
pub fn bind_msi(pirq: u32, cpu: CpuId) -> Option<Bound> {
    let vector = allocate(USED | u64::from(pirq))?;
    Some(Bound { vector, cpu })
}

/// Undoes a binding. A device's message must have been disabled before.
pub fn unbind(bound: Bound) {
    if let Some(gsi) = pin(SOURCES[usize::from(bound.vector)].load(Ordering::Acquire)) {
        ioapic::mask(gsi);
    }
    release(bound.vector);
}

/// Lets a bound pin interrupt: at first, and again after each time it did if level-triggered.
pub fn unmask(bound: Bound) {
    if let Some(gsi) = pin(SOURCES[usize::from(bound.vector)].load(Ordering::Acquire)) {
        ioapic::unmask(gsi);
    }
}

/// Routes the serial port's interrupt to the boot CPU.
pub(super) fn bind_serial() {
    let (gsi, wiring) = ioapic::isa_wiring(serial::IRQ);
    if ioapic::route(gsi, vectors::SERIAL, CpuId::BOOT, wiring) {
        ioapic::unmask(gsi);
        serial::enable_interrupt();
    }
}

/// Deals with an external interrupt. Called once for each, with interrupts off.
pub fn dispatch(vector: u8) {
    match vector {
        vectors::SPURIOUS => return,
        vectors::KICK => {}
        vectors::FLUSH => tlb::poll(),
        vectors::TIMER => sched::timer_interrupt(),
        vectors::SERIAL => {
            if serial::on_interrupt() {
                event::on_console_input();
            }
        }
        vectors::ERROR => log::warn!("local APIC error bits {:#x}", apic::take_errors()),
        _ => return device(vector),
    }
    apic::end_of_interrupt();
}

fn device(vector: u8) {
    let source = SOURCES[usize::from(vector)].load(Ordering::Acquire);
    if source & LEVEL != 0
        && let Some(gsi) = pin(source)
    {
        ioapic::mask(gsi);
    }
    apic::end_of_interrupt();
    if source & USED != 0 {
        // The lower half is the number it was bound with.
        event::set_pirq_pending(low_half(source));
    } else {
        log::debug!("interrupt {vector:#x} stands for nothing");
    }
}

fn pin(source: u64) -> Option<u32> {
    (source & PIN != 0).then_some(low_half(source >> GSI_SHIFT & GSI_MASK))
}

fn allocate(source: u64) -> Option<u8> {
    let _allocation = ALLOCATION.lock();
    let vector = (vectors::FIRST_DEVICE..=vectors::LAST_DEVICE).find(|vector| {
        let free = SOURCES[usize::from(*vector)].load(Ordering::Relaxed) == 0;
        free && *vector != vectors::LINUX_SYSCALL
    })?;
    SOURCES[usize::from(vector)].store(source, Ordering::Release);
    Some(vector)
}

fn release(vector: u8) {
    SOURCES[usize::from(vector)].store(0, Ordering::Release);
}
