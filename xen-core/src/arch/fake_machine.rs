//! The hardware of a vCPU, on a host: there is none. Tests of trap handling bring a fake of their
//! own (`trap::machine`); this one lets the hypercalls compile.

use guest_abi::frame::GuestVirtAddr;

use crate::arch::fault::Fault;
use crate::trap::decode::Width;
use crate::trap::machine::{BaseRegister, CpuidResult, HostFacts, Machine};
use crate::trap::state::EntryState;

/// No machine.
#[derive(Clone, Copy, Debug)]
pub struct Hardware;

impl Machine for Hardware {
    fn read(&self, _: GuestVirtAddr, _: &mut [u8]) -> Result<(), Fault> {
        Err(Fault)
    }

    fn read_kernel(&self, _: &EntryState, _: GuestVirtAddr, _: &mut [u8]) -> Result<(), Fault> {
        Err(Fault)
    }

    fn write(&self, _: GuestVirtAddr, _: &[u8]) -> Result<(), Fault> {
        Err(Fault)
    }

    fn toggle_mode(&self, entry: &EntryState) {
        entry.set_in_kernel(!entry.in_kernel());
    }

    fn event_mask(&self, _: &EntryState) -> u8 {
        1
    }

    fn set_event_mask(&self, _: &EntryState, _: u8) {}

    fn event_pending(&self, _: &EntryState) -> bool {
        false
    }

    fn cr2(&self, _: &EntryState) -> u64 {
        0
    }

    fn set_cr2(&self, _: &EntryState, _: u64) {}

    fn is_spurious(&self, _: &EntryState, _: GuestVirtAddr, _: u32) -> bool {
        false
    }

    fn segment_base(&self, _: BaseRegister) -> u64 {
        0
    }

    fn set_segment_base(&self, _: BaseRegister, _: u64) {}

    fn load_inactive_gs(&self, _: u16) {}

    fn set_task_switched(&self, _: bool) {}

    fn set_debug_register(&self, _: u8, _: u64) {}

    fn invalidate(&self, _: GuestVirtAddr) {}

    fn cpuid(&self, _: u32, _: u32) -> CpuidResult {
        CpuidResult::default()
    }

    fn host_facts(&self) -> HostFacts {
        HostFacts {
            tsc_khz: 1_000_000,
            machine_address_width: 36,
            null_clears_base: true,
        }
    }

    fn time_stamp(&self) -> u64 {
        0
    }

    fn set_tsc_aux(&self, _: u32) {}

    fn read_msr(&self, _: u32) -> Option<u64> {
        None
    }

    fn port_in(&self, _: u16, _: Width) -> u32 {
        u32::MAX
    }

    fn port_out(&self, _: u16, _: Width, _: u32) {}

    fn is_64bit_code(&self, _: u16) -> bool {
        true
    }
}
