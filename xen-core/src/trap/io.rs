//! Port I/O: who may, and what happens.
//!
//! An unprivileged domain has no ports: once its virtual IOPL lets an access through, reads answer
//! all ones and writes vanish. The privileged domain reaches real ports, except those that the core
//! drives itself; PCI configuration goes through a latch, so that an address written to 0xcf8 and
//! the access that uses it are one step.

use core::sync::atomic::{AtomicU32, Ordering};

use guest_abi::frame::GuestVirtAddr;

use super::decode::Width;
use super::machine::Machine;
use super::state::EntryState;
use crate::sync::SpinLock;

/// The counter of the timer that guests time their loops with.
const PIT_COUNTER2: u16 = 0x42;
/// PCI configuration address.
const PCI_ADDRESS: u16 = 0xcf8;
/// PCI configuration data, first of four ports.
const PCI_DATA: u16 = 0xcfc;

/// Serialises the pair of accesses that a PCI configuration access is made of.
static PCI_CONFIG: SpinLock<()> = SpinLock::new(());
/// What the privileged domain last wrote to 0xcf8. There is one such domain.
static PCI_LATCH: AtomicU32 = AtomicU32::new(0);

/// A vCPU's I/O privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoPrivilege {
    /// Virtual IOPL: 1 lets the guest's kernel at all ports, 3 its user as well.
    pub iopl: u8,
    /// Bitmap of forbidden ports, in the guest kernel's address space.
    pub bitmap: GuestVirtAddr,
    /// How many ports the bitmap covers; the rest are forbidden.
    pub bitmap_ports: u32,
}

impl IoPrivilege {
    /// Whether the current mode may access `port`.
    pub fn allows(
        &self,
        port: u16,
        width: Width,
        entry: &EntryState,
        machine: &impl Machine,
    ) -> bool {
        let needed = if entry.in_kernel() { 1 } else { 3 };
        self.iopl >= needed || self.bitmap_allows(port, width, entry, machine)
    }

    fn bitmap_allows(
        &self,
        port: u16,
        width: Width,
        entry: &EntryState,
        machine: &impl Machine,
    ) -> bool {
        let last = u64::from(port) + width.bytes() - 1;
        if self.bitmap.is_null() || last >= u64::from(self.bitmap_ports) {
            return false;
        }
        (u64::from(port)..=last).all(|port| {
            let mut byte = [0];
            let at = self.bitmap.checked_add(port / 8);
            let read = at.is_some_and(|at| machine.read_kernel(entry, at, &mut byte).is_ok());
            read && byte[0] >> (port % 8) & 1 == 0
        })
    }
}

/// Ports that the core drives: serial port 1, interrupt controllers, timer, its gate.
fn is_core_port(port: u16) -> bool {
    matches!(port, 0x20..=0x21 | 0x40..=0x43 | 0x61 | 0xa0..=0xa1 | 0x3f8..=0x3ff | 0x4d0..=0x4d1)
}

/// Whether an access of this width touches a port of the core.
fn touches_core_port(port: u16, width: Width) -> bool {
    (0..width.bytes()).any(|offset| {
        u16::try_from(offset).is_ok_and(|offset| is_core_port(port.wrapping_add(offset)))
    })
}

/// What `in` answers.
pub fn read(port: u16, width: Width, privileged: bool, machine: &impl Machine) -> u32 {
    if !privileged || touches_core_port(port, width) {
        return absent(port);
    }
    match (port, width) {
        (PCI_ADDRESS, Width::Dword) => PCI_LATCH.load(Ordering::Relaxed),
        (PCI_DATA..=0xcff, _) => {
            let _turn = PCI_CONFIG.lock();
            machine.port_out(PCI_ADDRESS, Width::Dword, PCI_LATCH.load(Ordering::Relaxed));
            machine.port_in(port, width)
        }
        _ => machine.port_in(port, width),
    }
}

/// What `out` does.
pub fn write(port: u16, width: Width, value: u32, privileged: bool, machine: &impl Machine) {
    if !privileged || touches_core_port(port, width) {
        return;
    }
    match (port, width) {
        (PCI_ADDRESS, Width::Dword) => PCI_LATCH.store(value, Ordering::Relaxed),
        (PCI_DATA..=0xcff, _) => {
            let _turn = PCI_CONFIG.lock();
            machine.port_out(PCI_ADDRESS, Width::Dword, PCI_LATCH.load(Ordering::Relaxed));
            machine.port_out(port, width, value);
        }
        _ => machine.port_out(port, width, value),
    }
}

/// A port with nothing behind it floats high. The PIT's counter does not: Linux would read it a
/// hundred thousand times, waiting for it to leave 0xff.
fn absent(port: u16) -> u32 {
    if port == PIT_COUNTER2 { 0 } else { u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trap::machine::FakeMachine;

    fn entry(in_kernel: bool) -> EntryState {
        let entry = EntryState::new();
        entry.set_in_kernel(in_kernel);
        entry
    }

    #[test]
    fn an_unprivileged_domain_reaches_no_port() {
        let machine = FakeMachine::default();
        for port in 0..=u16::MAX {
            let expected = if port == PIT_COUNTER2 { 0 } else { u32::MAX };
            assert_eq!(read(port, Width::Byte, false, &machine), expected);
            write(port, Width::Byte, 0, false, &machine);
        }
        assert!(machine.ports.borrow().is_empty());
    }

    #[test]
    fn the_cores_own_ports_are_out_of_reach_for_everyone() {
        let machine = FakeMachine::default();
        for port in [0x20, 0x40, 0x61, 0xa1, 0x3f8, 0x3ff] {
            read(port, Width::Byte, true, &machine);
            write(port, Width::Byte, 0, true, &machine);
        }
        // An access that begins below and reaches into them.
        write(0x3f5, Width::Dword, 0, true, &machine);
        assert!(machine.ports.borrow().is_empty());
        assert_eq!(read(0x60, Width::Byte, true, &machine), 0x5a);
    }

    #[test]
    fn a_pci_access_brings_its_address_along() {
        let machine = FakeMachine::default();
        write(PCI_ADDRESS, Width::Dword, 0x8000_1000, true, &machine);
        assert!(machine.ports.borrow().is_empty());
        read(0xcfe, Width::Word, true, &machine);
        assert_eq!(
            *machine.ports.borrow(),
            [(PCI_ADDRESS, 0x8000_1000), (0xcfe, 0)]
        );
    }

    #[test]
    fn iopl_1_is_for_the_kernel_and_iopl_3_for_the_user() {
        let machine = FakeMachine::default();
        for (iopl, kernel, user) in [(0, false, false), (1, true, false), (3, true, true)] {
            let io = IoPrivilege {
                iopl,
                ..IoPrivilege::default()
            };
            assert_eq!(io.allows(0x80, Width::Byte, &entry(true), &machine), kernel);
            assert_eq!(io.allows(0x80, Width::Byte, &entry(false), &machine), user);
        }
    }

    #[test]
    fn the_bitmap_opens_single_ports() {
        let machine = FakeMachine::default();
        machine.map(0x1000, &[0xff, 0b1111_1100]);
        let io = IoPrivilege {
            iopl: 0,
            bitmap: GuestVirtAddr::new(0x1000),
            bitmap_ports: 16,
        };
        let user = entry(false);
        assert!(io.allows(8, Width::Word, &user, &machine));
        assert!(!io.allows(9, Width::Word, &user, &machine));
        assert!(!io.allows(7, Width::Byte, &user, &machine));
        // Beyond the bitmap, and where the bitmap cannot be read.
        assert!(!io.allows(15, Width::Dword, &user, &machine));
        let unmapped = IoPrivilege {
            bitmap: GuestVirtAddr::new(0x9000),
            ..io
        };
        assert!(!unmapped.allows(8, Width::Byte, &user, &machine));
    }
}
