//! The hardware of the vCPU that runs on this CPU.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use guest_abi::frame::GuestVirtAddr;
use guest_abi::vcpu::VcpuInfo;

use super::{clock, context, debugreg, fpu, guest_memory, io, low_half, segments, tlb, walk};
use crate::arch::fault::Fault;
use crate::mm::heap;
use crate::trap::decode::Width;
use crate::trap::machine::{BaseRegister, CpuidResult, HostFacts, Machine};
use crate::trap::state::EntryState;

/// The real machine.
#[derive(Clone, Copy, Debug)]
pub struct Hardware;

impl Machine for Hardware {
    fn read(&self, from: GuestVirtAddr, into: &mut [u8]) -> Result<(), Fault> {
        guest_memory::copy_from_guest(from, into)
    }

    fn read_kernel(
        &self,
        entry: &EntryState,
        from: GuestVirtAddr,
        into: &mut [u8],
    ) -> Result<(), Fault> {
        if entry.in_kernel() {
            return self.read(from, into);
        }
        let user = tlb::current_root();
        tlb::load_root(entry.kernel_root().frame());
        let result = self.read(from, into);
        tlb::load_root(user);
        result
    }

    fn write(&self, to: GuestVirtAddr, from: &[u8]) -> Result<(), Fault> {
        guest_memory::copy_to_guest(to, from)
    }

    fn toggle_mode(&self, entry: &EntryState) {
        entry.set_in_kernel(!entry.in_kernel());
        segments::swap_gs();
        // A vCPU enters user mode only with a root for it.
        tlb::load_root(entry.root().unwrap_or(entry.kernel_root()).frame());
    }

    fn event_mask(&self, entry: &EntryState) -> u8 {
        let mask = core::mem::offset_of!(VcpuInfo, evtchn_upcall_mask);
        // Without a vcpu_info there is no way to take events.
        info_byte(entry, mask).map_or(1, |byte| byte.load(Ordering::SeqCst))
    }

    fn set_event_mask(&self, entry: &EntryState, mask: u8) {
        let at = core::mem::offset_of!(VcpuInfo, evtchn_upcall_mask);
        if let Some(byte) = info_byte(entry, at) {
            byte.store(mask, Ordering::SeqCst);
        }
    }

    fn event_pending(&self, entry: &EntryState) -> bool {
        let pending = core::mem::offset_of!(VcpuInfo, evtchn_upcall_pending);
        info_byte(entry, pending).is_some_and(|byte| byte.load(Ordering::SeqCst) != 0)
    }

    fn cr2(&self, entry: &EntryState) -> u64 {
        info_cr2(entry).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn set_cr2(&self, entry: &EntryState, address: u64) {
        if let Some(word) = info_cr2(entry) {
            word.store(address, Ordering::Relaxed);
        }
    }

    fn is_spurious(&self, entry: &EntryState, address: GuestVirtAddr, error_code: u32) -> bool {
        entry
            .root()
            .is_some_and(|root| walk::allows(root.frame(), address, error_code))
    }

    fn segment_base(&self, register: BaseRegister) -> u64 {
        segments::base(register)
    }

    fn set_segment_base(&self, register: BaseRegister, base: u64) {
        segments::set_base(register, base);
    }

    fn load_inactive_gs(&self, selector: u16) {
        segments::load_inactive_gs(selector);
    }

    fn set_task_switched(&self, set: bool) {
        fpu::set_task_switched(set);
    }

    fn set_debug_register(&self, number: u8, value: u64) {
        debugreg::load(number, value);
        if number == 7 {
            context::note_debug_registers(value & 0xff != 0);
        }
    }

    fn invalidate(&self, address: GuestVirtAddr) {
        tlb::invlpg_local(address);
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        let real = super::cpuid(leaf, subleaf);
        CpuidResult {
            eax: real.eax,
            ebx: real.ebx,
            ecx: real.ecx,
            edx: real.edx,
        }
    }

    fn host_facts(&self) -> HostFacts {
        let frames = heap::totals().frames;
        let page_bits = guest_abi::PAGE_SHIFT;
        HostFacts {
            tsc_khz: low_half(clock::tsc_hz() / 1000),
            machine_address_width: u64::BITS - frames.leading_zeros() + page_bits,
            null_clears_base: segments::null_clears_base(),
        }
    }

    fn time_stamp(&self) -> u64 {
        clock::tsc()
    }

    fn set_tsc_aux(&self, value: u32) {
        segments::set_tsc_aux(value);
    }

    fn read_msr(&self, number: u32) -> Option<u64> {
        segments::read_msr(number)
    }

    fn port_in(&self, port: u16, width: Width) -> u32 {
        match width {
            Width::Byte => io::inb(port).into(),
            Width::Word => io::inw(port).into(),
            Width::Dword | Width::Qword => io::inl(port),
        }
    }

    fn port_out(&self, port: u16, width: Width, value: u32) {
        let [low, second, ..] = value.to_le_bytes();
        match width {
            Width::Byte => io::outb(port, low),
            Width::Word => io::outw(port, u16::from_le_bytes([low, second])),
            Width::Dword | Width::Qword => io::outl(port, value),
        }
    }

    fn is_64bit_code(&self, cs: u16) -> bool {
        segments::is_64bit_code(cs)
    }
}

fn info_address(entry: &EntryState, offset: usize) -> Option<*mut u8> {
    let address = entry.vcpu_info();
    (address != 0).then(|| (address as *mut u8).wrapping_add(offset))
}

fn info_byte(entry: &EntryState, offset: usize) -> Option<&AtomicU8> {
    let byte = info_address(entry, offset)?;
    // SAFETY: the address is that of a vcpu_info in the direct map, whose frame is held as long as
    // the vCPU refers to it; the guest and all of the core access it as atomics.
    Some(unsafe { AtomicU8::from_ptr(byte) })
}

fn info_cr2(entry: &EntryState) -> Option<&AtomicU64> {
    let word = info_address(entry, core::mem::offset_of!(VcpuInfo, arch))?;
    // SAFETY: as above; a vcpu_info is aligned to 8, and CR2 is the first word of its x86 part.
    Some(unsafe { AtomicU64::from_ptr(word.cast()) })
}
