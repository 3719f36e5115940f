//! [`Machine`]: what trap handling asks of the hardware, so that its rules run on a laptop.
//!
//! The one real implementor is `arch::x86_64::machine`; tests use the fake below. All of it acts
//! for the vCPU that runs on this CPU.

use guest_abi::frame::GuestVirtAddr;

use super::decode::Width;
use super::state::EntryState;
use crate::arch::fault::Fault;

/// The four registers of a CPUID leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidResult {
    /// EAX
    pub eax: u32,
    /// EBX
    pub ebx: u32,
    /// ECX
    pub ecx: u32,
    /// EDX
    pub edx: u32,
}

/// A segment base that the guest may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseRegister {
    /// FS.
    Fs,
    /// GS as it is in use now.
    GsActive,
    /// GS of the other mode: SWAPGS brings it in.
    GsInactive,
}

/// What CPUID tells about the host beyond the processor's own leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Frequency of the time-stamp counter.
    pub tsc_khz: u32,
    /// Bits of a machine address.
    pub machine_address_width: u32,
    /// Whether loading a null selector clears the base behind it.
    pub null_clears_base: bool,
}

/// The running vCPU's hardware.
pub trait Machine {
    /// Copies from the guest's current address space.
    ///
    /// # Errors
    /// When a byte cannot be read.
    fn read(&self, from: GuestVirtAddr, into: &mut [u8]) -> Result<(), Fault>;

    /// Copies from the guest kernel's address space, whichever mode the vCPU is in.
    ///
    /// # Errors
    /// When a byte cannot be read.
    fn read_kernel(
        &self,
        entry: &EntryState,
        from: GuestVirtAddr,
        into: &mut [u8],
    ) -> Result<(), Fault>;

    /// Copies into the guest's current address space.
    ///
    /// # Errors
    /// When a byte cannot be written.
    fn write(&self, to: GuestVirtAddr, from: &[u8]) -> Result<(), Fault>;

    /// Moves to the other virtual mode: root, GS and the flag. The new mode has a root.
    fn toggle_mode(&self, entry: &EntryState);

    /// The upcall mask byte in the vCPU's `vcpu_info`.
    fn event_mask(&self, entry: &EntryState) -> u8;

    /// Sets the upcall mask byte.
    fn set_event_mask(&self, entry: &EntryState, mask: u8);

    /// Whether the upcall pending byte is set.
    fn event_pending(&self, entry: &EntryState) -> bool;

    /// The last page-fault address as the guest sees it.
    fn cr2(&self, entry: &EntryState) -> u64;

    /// Shows the guest a page-fault address.
    fn set_cr2(&self, entry: &EntryState, address: u64);

    /// Whether the tables in force allow the access that faulted: then a stale translation was to
    /// blame, and the access will succeed when repeated.
    fn is_spurious(&self, entry: &EntryState, address: GuestVirtAddr, error_code: u32) -> bool;

    /// A segment base.
    fn segment_base(&self, register: BaseRegister) -> u64;

    /// Sets a segment base; `base` is canonical.
    fn set_segment_base(&self, register: BaseRegister, base: u64);

    /// Loads a selector into the GS of the other mode; a bad one becomes null.
    fn load_inactive_gs(&self, selector: u16);

    /// Sets or clears the real CR0.TS.
    fn set_task_switched(&self, set: bool);

    /// Loads debug register `number` with an already checked value.
    fn set_debug_register(&self, number: u8, value: u64);

    /// Forgets one translation of this CPU.
    fn invalidate(&self, address: GuestVirtAddr);

    /// The processor's own CPUID.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult;

    /// Facts for the hypervisor's CPUID leaves.
    fn host_facts(&self) -> HostFacts;

    /// The time-stamp counter.
    fn time_stamp(&self) -> u64;

    /// Sets TSC_AUX.
    fn set_tsc_aux(&self, value: u32);

    /// A model-specific register that is safe to show, if this CPU has it.
    fn read_msr(&self, number: u32) -> Option<u64>;

    /// A real port read for the privileged domain.
    fn port_in(&self, port: u16, width: Width) -> u32;

    /// A real port write for the privileged domain.
    fn port_out(&self, port: u16, width: Width, value: u32);

    /// Whether the vCPU runs in 64-bit code under selector `cs`.
    fn is_64bit_code(&self, cs: u16) -> bool;
}

#[cfg(test)]
pub(crate) use fake::FakeMachine;

#[cfg(test)]
mod fake {
    use core::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use super::{BaseRegister, CpuidResult, HostFacts, Machine};
    use crate::arch::fault::Fault;
    use crate::arch::layout::is_off_limits;
    use crate::trap::decode::Width;
    use crate::trap::state::EntryState;
    use guest_abi::frame::GuestVirtAddr;

    /// A machine whose guest memory is a map of bytes: what is not in it faults.
    #[derive(Debug, Default)]
    pub(crate) struct FakeMachine {
        pub(crate) memory: RefCell<BTreeMap<u64, u8>>,
        pub(crate) mask: Cell<u8>,
        pub(crate) pending: Cell<bool>,
        pub(crate) cr2: Cell<u64>,
        pub(crate) spurious: Cell<u64>,
        pub(crate) bases: RefCell<[u64; 3]>,
        pub(crate) task_switched: Cell<bool>,
        pub(crate) ports: RefCell<Vec<(u16, u32)>>,
        pub(crate) toggles: Cell<u32>,
        pub(crate) invalidated: RefCell<Vec<u64>>,
    }

    impl FakeMachine {
        pub(crate) fn map(&self, from: u64, bytes: &[u8]) {
            let mut memory = self.memory.borrow_mut();
            for (offset, byte) in (0..).zip(bytes) {
                memory.insert(from.wrapping_add(offset), *byte);
            }
        }

        pub(crate) fn word(&self, at: u64) -> u64 {
            let mut bytes = [0; 8];
            self.read(GuestVirtAddr::new(at), &mut bytes)
                .expect("mapped");
            u64::from_le_bytes(bytes)
        }
    }

    impl Machine for FakeMachine {
        fn read(&self, from: GuestVirtAddr, into: &mut [u8]) -> Result<(), Fault> {
            if is_off_limits(from.get(), into.len() as u64) {
                return Err(Fault);
            }
            for (address, byte) in (from.get()..).zip(into) {
                *byte = *self.memory.borrow().get(&address).ok_or(Fault)?;
            }
            Ok(())
        }

        fn read_kernel(
            &self,
            _: &EntryState,
            from: GuestVirtAddr,
            into: &mut [u8],
        ) -> Result<(), Fault> {
            self.read(from, into)
        }

        fn write(&self, to: GuestVirtAddr, from: &[u8]) -> Result<(), Fault> {
            let mut old = vec![0; from.len()];
            self.read(to, &mut old)?;
            self.map(to.get(), from);
            Ok(())
        }

        fn toggle_mode(&self, entry: &EntryState) {
            entry.set_in_kernel(!entry.in_kernel());
            self.toggles.set(self.toggles.get() + 1);
        }

        fn event_mask(&self, _: &EntryState) -> u8 {
            self.mask.get()
        }

        fn set_event_mask(&self, _: &EntryState, mask: u8) {
            self.mask.set(mask);
        }

        fn event_pending(&self, _: &EntryState) -> bool {
            self.pending.get()
        }

        fn cr2(&self, _: &EntryState) -> u64 {
            self.cr2.get()
        }

        fn set_cr2(&self, _: &EntryState, address: u64) {
            self.cr2.set(address);
        }

        fn is_spurious(&self, _: &EntryState, address: GuestVirtAddr, _: u32) -> bool {
            self.spurious.get() == address.get() && address.get() != 0
        }

        fn segment_base(&self, register: BaseRegister) -> u64 {
            self.bases.borrow()[register as usize]
        }

        fn set_segment_base(&self, register: BaseRegister, base: u64) {
            self.bases.borrow_mut()[register as usize] = base;
        }

        fn load_inactive_gs(&self, _: u16) {}

        fn set_task_switched(&self, set: bool) {
            self.task_switched.set(set);
        }

        fn set_debug_register(&self, _: u8, _: u64) {}

        fn invalidate(&self, address: GuestVirtAddr) {
            self.invalidated.borrow_mut().push(address.get());
        }

        fn cpuid(&self, _: u32, _: u32) -> CpuidResult {
            CpuidResult {
                eax: u32::MAX,
                ebx: u32::MAX,
                ecx: u32::MAX,
                edx: u32::MAX,
            }
        }

        fn host_facts(&self) -> HostFacts {
            HostFacts {
                tsc_khz: 1_000_000,
                machine_address_width: 36,
                null_clears_base: true,
            }
        }

        fn time_stamp(&self) -> u64 {
            0x1_0000_0002
        }

        fn set_tsc_aux(&self, _: u32) {}

        fn read_msr(&self, _: u32) -> Option<u64> {
            None
        }

        fn port_in(&self, port: u16, _: Width) -> u32 {
            self.ports.borrow_mut().push((port, 0));
            0x5a
        }

        fn port_out(&self, port: u16, _: Width, value: u32) {
            self.ports.borrow_mut().push((port, value));
        }

        fn is_64bit_code(&self, _: u16) -> bool {
            true
        }
    }
}
