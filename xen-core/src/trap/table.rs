//! A vCPU's trap table: what `set_trap_table` fills and exceptions look up.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::trap::TrapInfo;

use super::state::is_callable;

/// One vector's handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Where; null: none.
    pub address: GuestVirtAddr,
    /// The code segment as the guest gave it, RPL forced to 3.
    pub cs: u16,
    /// The least privilege that may raise the vector by `int`.
    pub dpl: u8,
    /// Mask events before the handler starts.
    pub masks_events: bool,
}

/// The 256 gates.
#[derive(Debug)]
pub struct TrapTable {
    gates: [Gate; 256],
}

impl Default for TrapTable {
    fn default() -> Self {
        Self::new()
    }
}

impl TrapTable {
    /// No handlers.
    pub const fn new() -> Self {
        let none = Gate {
            address: GuestVirtAddr::NULL,
            cs: 0,
            dpl: 0,
            masks_events: false,
        };
        Self { gates: [none; 256] }
    }

    /// The gate of a vector, if the guest has set one.
    pub fn gate(&self, vector: u8) -> Option<Gate> {
        let gate = *self.gates.get(usize::from(vector))?;
        (!gate.address.is_null()).then_some(gate)
    }

    /// Enters one gate. Says whether its handler is at an address a guest may execute; one that is
    /// not would only end the domain later, so it is refused now.
    #[must_use]
    pub fn set(&mut self, info: &TrapInfo) -> bool {
        if !info.address.is_null() && !is_callable(info.address) {
            return false;
        }
        let gate = Gate {
            address: info.address,
            cs: info.cs | 3,
            dpl: info.dpl(),
            masks_events: info.masks_events(),
        };
        if let Some(slot) = self.gates.get_mut(usize::from(info.vector)) {
            *slot = gate;
        }
        true
    }

    /// Removes all gates.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// The gates as `vcpu_guest_context` carries them.
    pub fn to_info(&self) -> [TrapInfo; 256] {
        let mut infos = [zero(); 256];
        for ((vector, gate), info) in (0u8..=255).zip(&self.gates).zip(&mut infos) {
            info.vector = vector;
            info.flags = gate.dpl | u8::from(gate.masks_events) << 2;
            info.cs = gate.cs;
            info.address = gate.address;
        }
        infos
    }
}

fn zero() -> TrapInfo {
    guest_abi::zerocopy::FromZeros::new_zeroed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_inside_the_core_is_refused() {
        let mut table = TrapTable::new();
        let mut info = zero();
        info.vector = 13;
        for bad in [0xffff_8300_0000_0000, 0x8000_0000_0000] {
            info.address = GuestVirtAddr::new(bad);
            assert!(!table.set(&info));
            assert_eq!(table.gate(13), None);
        }
        info.address = GuestVirtAddr::new(0xffff_ffff_8100_0000);
        info.cs = 0x10;
        assert!(table.set(&info));
        assert_eq!(table.gate(13).map(|gate| gate.cs), Some(0x13));
    }

    #[test]
    fn a_table_survives_the_trip_through_a_context() {
        let mut table = TrapTable::new();
        let mut info = zero();
        info.vector = 0x80;
        info.flags = 3 | 4;
        info.cs = 0xe033;
        info.address = GuestVirtAddr::new(0x1000);
        assert!(table.set(&info));
        assert_eq!(table.to_info()[0x80], info);
    }
}
