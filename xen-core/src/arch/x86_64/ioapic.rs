//! The I/O interrupt controllers: which pin raises which vector where.
//!
//! Layout of a redirection entry: 82093AA datasheet, section 3.2.4.

use heapless::Vec;

use super::paging::{self, bits};
use crate::arch::layout::DEVICES_BASE;
use crate::boot::acpi::{Acpi, MAX_IO_APICS, Override};
use crate::cpu::CpuId;
use crate::sync::SpinLock;

const FIRST_PAGE: u64 = DEVICES_BASE + 0x1000;
const VERSION: u32 = 1;
const REDIRECTION: u32 = 0x10;
const ACTIVE_LOW: u32 = 1 << 13;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

static CONTROLLERS: SpinLock<Vec<Controller, MAX_IO_APICS>> = SpinLock::new(Vec::new());
static OVERRIDES: SpinLock<Vec<Override, 16>> = SpinLock::new(Vec::new());

struct Controller {
    /// Where its registers are mapped.
    registers: u64,
    gsi_base: u32,
    pins: u32,
}

/// How a pin is wired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wiring {
    /// Whether it is active low.
    pub active_low: bool,
    /// Whether it is level-triggered.
    pub level: bool,
}

/// Maps all controllers and masks their pins.
pub(super) fn init(acpi: &Acpi) {
    let mut controllers = CONTROLLERS.lock();
    for (index, io_apic) in acpi.io_apics.iter().enumerate() {
        let registers = FIRST_PAGE + 0x1000 * index as u64;
        if !paging::map(
            registers,
            io_apic.address & !0xfff,
            bits::DATA | bits::UNCACHED,
        ) {
            log::error!("no memory to map I/O APIC {}", io_apic.id);
            continue;
        }
        let registers = registers + (io_apic.address & 0xfff);
        let mut controller = Controller {
            registers,
            gsi_base: io_apic.gsi_base,
            pins: 0,
        };
        controller.pins = (controller.read(VERSION) >> 16 & 0xff) + 1;
        for pin in 0..controller.pins {
            controller.write(REDIRECTION + 2 * pin, MASKED);
        }
        let _ = controllers.push(controller);
    }
    OVERRIDES.lock().clone_from(&acpi.overrides);
}

/// How many global system interrupts there are.
pub fn gsi_count() -> u32 {
    let ends = CONTROLLERS.lock().iter().map(|c| c.gsi_base + c.pins).max();
    ends.unwrap_or(0)
}

/// The global system interrupt and wiring of an ISA interrupt.
pub fn isa_wiring(irq: u8) -> (u32, Wiring) {
    let overrides = OVERRIDES.lock();
    let plain = (
        u32::from(irq),
        Wiring {
            active_low: false,
            level: false,
        },
    );
    overrides
        .iter()
        .find(|entry| entry.irq == irq)
        .map_or(plain, |entry| {
            let &Override {
                gsi,
                active_low,
                level,
                ..
            } = entry;
            (gsi, Wiring { active_low, level })
        })
}

/// Lets `gsi` raise `vector` on a CPU; it stays masked. False if there is no such pin.
pub(super) fn route(gsi: u32, vector: u8, cpu: CpuId, wiring: Wiring) -> bool {
    let low = u32::from(vector)
        | if wiring.active_low { ACTIVE_LOW } else { 0 }
        | if wiring.level { LEVEL } else { 0 }
        | MASKED;
    let high = super::percpu::apic_id(cpu) << 24;
    with_pin(gsi, |controller, register| {
        controller.write(register, low);
        controller.write(register + 1, high);
    })
}

/// Keeps `gsi` from interrupting. False if there is no such pin.
pub fn mask(gsi: u32) -> bool {
    with_pin(gsi, |controller, register| {
        let low = controller.read(register);
        controller.write(register, low | MASKED);
    })
}

/// Lets `gsi` interrupt. False if there is no such pin.
pub fn unmask(gsi: u32) -> bool {
    with_pin(gsi, |controller, register| {
        let low = controller.read(register);
        controller.write(register, low & !MASKED);
    })
}

/// Does something with the controller of `gsi` and the number of the pin's lower register.
fn with_pin(gsi: u32, action: impl FnOnce(&Controller, u32)) -> bool {
    let controllers = CONTROLLERS.lock();
    let pin_of = |c: &Controller| gsi.checked_sub(c.gsi_base).filter(|pin| *pin < c.pins);
    let found = controllers.iter().find_map(|c| Some((c, pin_of(c)?)));
    if let Some((controller, pin)) = found {
        action(controller, REDIRECTION + 2 * pin);
    }
    found.is_some()
}

impl Controller {
    fn read(&self, register: u32) -> u32 {
        self.select(register);
        // SAFETY: the page is mapped (see `init`); the data register is at 0x10.
        unsafe { ((self.registers + 0x10) as *const u32).read_volatile() }
    }

    fn write(&self, register: u32, value: u32) {
        self.select(register);
        // SAFETY: the page is mapped (see `init`); the data register is at 0x10.
        unsafe { ((self.registers + 0x10) as *mut u32).write_volatile(value) };
    }

    fn select(&self, register: u32) {
        // SAFETY: the page is mapped (see `init`); the index register is at 0.
        unsafe { (self.registers as *mut u32).write_volatile(register) };
    }
}
