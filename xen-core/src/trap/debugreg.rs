//! A vCPU's debug registers: what it may put in.
//!
//! A breakpoint on one of the core's own addresses would fire in ring 0, so each address is
//! checked, and I/O breakpoints and general detect are refused.

use guest_abi::errno::Errno;

use super::machine::Machine;
use crate::arch::layout::is_off_limits;

/// DR6 with nothing reported.
pub const DR6_CLEAR: u64 = 0xffff_0ff0;
/// DR7 with nothing armed.
pub const DR7_CLEAR: u64 = 0x400;

const DR6_RESERVED_ZERO: u64 = 1 << 12;
const DR7_RESERVED_ZERO: u64 = 0xd800;
const DR7_GENERAL_DETECT: u64 = 1 << 13;
const DR7_ARMED: u64 = 0xff;
/// The widest breakpoint.
const MAX_LENGTH: u64 = 8;

/// The six registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugRegisters {
    /// DR0 to DR3.
    pub address: [u64; 4],
    /// Status.
    pub dr6: u64,
    /// Control.
    pub dr7: u64,
}

impl Default for DebugRegisters {
    fn default() -> Self {
        Self::new()
    }
}

impl DebugRegisters {
    /// Nothing armed.
    pub const fn new() -> Self {
        Self {
            address: [0; 4],
            dr6: DR6_CLEAR,
            dr7: DR7_CLEAR,
        }
    }

    /// Whether any breakpoint is armed: only then need they be in the hardware.
    pub const fn is_armed(&self) -> bool {
        self.dr7 & DR7_ARMED != 0
    }

    /// Register `number`; 4 and 5 are other names of 6 and 7.
    pub fn get(&self, number: u8) -> Option<u64> {
        match number {
            0..=3 => self.address.get(usize::from(number)).copied(),
            4 | 6 => Some(self.dr6),
            5 | 7 => Some(self.dr7),
            _ => None,
        }
    }

    /// Sets register `number`; returns the value it has now.
    ///
    /// # Errors
    /// `EPERM` for an address of the core's, `EINVAL` for what a guest may not ask for.
    pub fn set(&mut self, number: u8, value: u64) -> Result<u64, Errno> {
        match number {
            0..=3 => {
                if is_off_limits(value, MAX_LENGTH) {
                    return Err(Errno::EPERM);
                }
                if let Some(slot) = self.address.get_mut(usize::from(number)) {
                    *slot = value;
                }
                Ok(value)
            }
            4 | 6 => {
                upper_half_is_clear(value)?;
                self.dr6 = value & !DR6_RESERVED_ZERO | DR6_CLEAR;
                Ok(self.dr6)
            }
            5 | 7 => {
                upper_half_is_clear(value)?;
                self.dr7 = checked_dr7(value)?;
                Ok(self.dr7)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Sets a register and brings the hardware up to date. Only armed breakpoints are in the hardware.
///
/// # Errors
/// As for [`DebugRegisters::set`].
pub fn set(
    debug: &mut DebugRegisters,
    number: u8,
    value: u64,
    machine: &impl Machine,
) -> Result<(), Errno> {
    debug.set(number, value)?;
    if debug.is_armed() {
        for (number, address) in (0..).zip(debug.address) {
            machine.set_debug_register(number, address);
        }
    }
    machine.set_debug_register(6, debug.dr6);
    machine.set_debug_register(7, debug.dr7);
    Ok(())
}

fn upper_half_is_clear(value: u64) -> Result<(), Errno> {
    if value >> 32 == 0 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn checked_dr7(value: u64) -> Result<u64, Errno> {
    if value & DR7_GENERAL_DETECT != 0 {
        return Err(Errno::EPERM);
    }
    // Two bits of kind for each breakpoint: 2 is "I/O".
    let has_io = (0..4).any(|number| value >> (16 + number * 4) & 3 == 2);
    if has_io {
        return Err(Errno::EPERM);
    }
    Ok(value & !DR7_RESERVED_ZERO | DR7_CLEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breakpoint_on_the_core_is_refused() {
        let mut debug = DebugRegisters::new();
        for address in [
            0xffff_8000_0000_0000,
            0xffff_82d0_8020_0000,
            0x7fff_ffff_fffc,
        ] {
            assert_eq!(debug.set(0, address), Err(Errno::EPERM), "{address:#x}");
        }
        assert_eq!(
            debug.set(3, 0xffff_ffff_8100_0000),
            Ok(0xffff_ffff_8100_0000)
        );
    }

    #[test]
    fn io_breakpoints_and_general_detect_are_refused() {
        let mut debug = DebugRegisters::new();
        assert_eq!(debug.set(7, 0x2_0001), Err(Errno::EPERM));
        assert_eq!(debug.set(7, 1 << 13), Err(Errno::EPERM));
        assert_eq!(debug.set(7, 1 << 32), Err(Errno::EINVAL));
        assert_eq!(debug.set(8, 0), Err(Errno::EINVAL));
        assert!(!debug.is_armed());
    }

    #[test]
    fn reserved_bits_keep_their_values() {
        let mut debug = DebugRegisters::new();
        assert_eq!(debug.set(6, 0), Ok(DR6_CLEAR));
        assert_eq!(debug.set(6, 0x1000), Ok(DR6_CLEAR));
        assert_eq!(debug.set(7, 0x1), Ok(DR7_CLEAR | 1));
        assert!(debug.is_armed());
        assert_eq!(debug.get(5), Some(DR7_CLEAR | 1));
    }
}
