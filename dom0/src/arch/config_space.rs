//! PCI configuration space, memory mapped (ECAM): 4 KiB a function.

use alloc::rc::Rc;
use core::sync::atomic::Ordering;

use frontends::window::{MapError, Mapping};
use guest_abi::MachAddr;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

/// Bytes of configuration space of one function, and of one bus.
const FUNCTION_BYTES: usize = 4096;
const BUS_BYTES: u64 = 1 << 20;

/// One bus's configuration space.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bus: u8,
    registers: Rc<Mapping>,
}

impl ConfigSpace {
    /// Maps the space of `bus`, given where that of bus 0 begins.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    pub fn map(base: MachAddr, bus: u8) -> Result<Self, MapError> {
        let start = MachAddr::new(base.get() + u64::from(bus) * BUS_BYTES);
        Ok(Self {
            bus,
            registers: Rc::new(Mapping::device(start, BUS_BYTES)?),
        })
    }

    /// Writes two bytes of a function's registers.
    pub fn write_half(&mut self, function: DeviceFunction, register: u8, value: u16) {
        if let Some(offset) = self.offset(function, register) {
            let offset = offset + usize::from(register & 2);
            self.registers.u16(offset).store(value, Ordering::Relaxed);
        }
    }

    fn offset(&self, function: DeviceFunction, register: u8) -> Option<usize> {
        let number = usize::from(function.device) * 8 + usize::from(function.function);
        let inside = function.bus == self.bus && number < 256;
        inside.then_some(number * FUNCTION_BYTES + usize::from(register & !3))
    }
}

impl ConfigurationAccess for ConfigSpace {
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        // What a bus without such a device answers.
        self.offset(function, register).map_or(u32::MAX, |offset| {
            self.registers.u32(offset).load(Ordering::Relaxed)
        })
    }

    fn write_word(&mut self, function: DeviceFunction, register: u8, value: u32) {
        if let Some(offset) = self.offset(function, register) {
            self.registers.u32(offset).store(value, Ordering::Relaxed);
        }
    }

    // The registers are words accessed as atomics, so a clone can do no harm.
    unsafe fn unsafe_clone(&self) -> Self {
        self.clone()
    }
}
