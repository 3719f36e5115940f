//! The shared info page: pending events, clock, fault address.
//!
//! The page lies in the image's bss until start of day replaces its mapping by
//! the frame that the hypervisor shares with this domain.

use core::{
    mem::offset_of,
    sync::atomic::{AtomicU32, Ordering, fence},
};

use guest_abi::{
    Errno, Mfn, VcpuId,
    mmu::{Pte, PteFlags},
    shared_info::SharedInfo,
    vcpu::{VcpuInfo, VcpuTimeInfo},
};

use super::{bytes::SharedBytes, hypercall};
use core::{cell::UnsafeCell, ptr::NonNull};

#[repr(C, align(4096))]
struct SharedPage(UnsafeCell<[u8; 4096]>);

// SAFETY: all access is through `SharedBytes`.
unsafe impl Sync for SharedPage {}

static SHARED_INFO: SharedPage = SharedPage(UnsafeCell::new([0; 4096]));

/// The shared info page.
pub(crate) fn info() -> SharedBytes {
    let base = NonNull::from(&SHARED_INFO.0).cast();
    // SAFETY: the static lives for ever, is page aligned, and no reference is made to its inside.
    unsafe { SharedBytes::new(base, 4096) }
}

/// Maps the frame the hypervisor shares in place of the page in bss.
pub(crate) fn map(frame: Mfn) -> Result<(), Errno> {
    let flags = PteFlags::PRESENT | PteFlags::RW | PteFlags::ACCESSED | PteFlags::DIRTY;
    // SAFETY: the page under that address is accessed as shared memory only.
    unsafe { hypercall::update_va_mapping(info().address(), Pte::map(frame, flags)) }
}

/// The offset of a vCPU's record.
pub(crate) fn vcpu_offset(vcpu: VcpuId) -> usize {
    offset_of!(SharedInfo, vcpu_info) + vcpu.get() as usize * size_of::<VcpuInfo>()
}

/// The address of vCPU 0's last page fault.
pub(crate) fn fault_address() -> u64 {
    let offset = vcpu_offset(VcpuId::new(0)) + offset_of!(VcpuInfo, arch);
    info().u64(offset).load(Ordering::Relaxed)
}

/// Reads a record whose version word is odd while it changes.
///
/// `read` copies it; it is repeated until no change came between.
fn read_versioned<T>(version: &AtomicU32, read: impl Fn() -> T) -> T {
    loop {
        let before = version.load(Ordering::Acquire);
        let value = read();
        fence(Ordering::Acquire);
        if before & 1 == 0 && version.load(Ordering::Relaxed) == before {
            return value;
        }
        core::hint::spin_loop();
    }
}

/// A consistent copy of a vCPU's clock record, and the counter it applies to.
pub(crate) fn time_record(vcpu: VcpuId) -> (VcpuTimeInfo, u64) {
    let info = info();
    let offset = vcpu_offset(vcpu) + offset_of!(VcpuInfo, time);
    read_versioned(info.u32(offset), || {
        let mut record = VcpuTimeInfo::default();
        info.read(
            offset,
            guest_abi::zerocopy::IntoBytes::as_mut_bytes(&mut record),
        );
        (record, cycles())
    })
}

/// UNIX time when the system time was zero: seconds and nanoseconds.
pub(crate) fn wall_clock() -> (u64, u32) {
    let info = info();
    let word = |offset| info.u32(offset).load(Ordering::Relaxed);
    read_versioned(info.u32(offset_of!(SharedInfo, wc_version)), || {
        let low = word(offset_of!(SharedInfo, wc_sec));
        let high = word(offset_of!(SharedInfo, wc_sec_hi));
        (
            u64::from(high) << 32 | u64::from(low),
            word(offset_of!(SharedInfo, wc_nsec)),
        )
    })
}

/// The time-stamp counter.
pub(crate) fn cycles() -> u64 {
    // SAFETY: every x86-64 has the counter, and the hypervisor lets guests read it.
    unsafe { core::arch::x86_64::_rdtsc() }
}
