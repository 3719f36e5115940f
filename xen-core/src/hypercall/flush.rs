//! Flushes that guests ask for: which CPUs are meant.

use guest_abi::errno::Errno;
use guest_abi::frame::GuestVirtAddr;

use super::Call;
use super::guest_ptr::GuestPtr;
use crate::arch;
use crate::cpu::CpuMask;
use crate::effect::Flush;

/// Enough bytes of a bitmap of vCPUs for any domain.
const BITMAP: usize = 64;

/// The CPUs that may hold translations of the vCPUs in the bitmap at `bitmap`.
///
/// A CPU that holds translations of some vCPU of the domain may hold those of any other that ran
/// there before, so all such CPUs are meant; but this one only if the calling vCPU is.
///
/// # Errors
/// `EFAULT` when the bitmap cannot be read.
pub(super) fn cpus_of_vcpus(call: &Call<'_>, bitmap: u64) -> Result<CpuMask, Errno> {
    let mut bits = [0u8; BITMAP];
    let bytes = call.domain().vcpus().len().div_ceil(8).min(BITMAP);
    let room = bits.get_mut(..bytes).ok_or(Errno::EINVAL)?;
    GuestPtr::<u8>::new(bitmap).copy_in_slice(room)?;
    let own = call.vcpu.id.get() as usize;
    let is_set = |id: usize| {
        bits.get(id / 8)
            .is_some_and(|byte| byte >> (id % 8) & 1 != 0)
    };
    if bits.iter().all(|&byte| byte == 0) {
        return Ok(CpuMask::EMPTY);
    }
    let cpus = call.domain().dirty_cpus.load();
    if is_set(own) {
        Ok(cpus.with(arch::this_cpu()))
    } else {
        Ok(cpus.without(arch::this_cpu()))
    }
}

/// The CPUs that may hold translations of any vCPU of the calling domain.
pub(super) fn cpus_of_domain(call: &Call<'_>) -> CpuMask {
    call.domain().dirty_cpus.load().with(arch::this_cpu())
}

/// One page here; everything on `cpus` if others are among them.
pub(super) fn page(cpus: CpuMask, va: GuestVirtAddr) -> Flush {
    if cpus == CpuMask::only(arch::this_cpu()) {
        Flush::Page(cpus, va)
    } else {
        Flush::All(cpus)
    }
}

/// Does it, and returns when it is done everywhere.
pub(super) fn apply(flush: Flush) {
    match flush {
        Flush::None => {}
        Flush::Page(_, va) => arch::tlb::invlpg_local(va),
        Flush::All(cpus) if cpus == CpuMask::only(arch::this_cpu()) => arch::tlb::flush_local(),
        Flush::All(cpus) if cpus.is_empty() => {}
        Flush::All(cpus) => arch::tlb::flush_mask(cpus),
    }
}
