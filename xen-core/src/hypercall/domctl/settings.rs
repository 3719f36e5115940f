//! Limits, names and shares.

use guest_abi::domctl::{
    AddressSize, AffinityFlags, Bitmap, Domctl, MaxMem, MaxVcpus, SchedCredit, SchedulerId,
    SchedulerOp, SetDomainHandle, TscInfo, VcpuAffinity,
};
use guest_abi::errno::Errno;
use guest_abi::frame::PAGE_SHIFT;

use super::super::Stop;
use super::super::guest_ptr::GuestPtr;
use super::Answer;
use crate::cpu::CpuMask;
use crate::domain::{Domain, DomainRef};
use crate::sched;

/// `XEN_DOMCTL_max_mem`: the maximum may be set below what the domain has; it then only shrinks.
pub(super) fn max_mem(domain: &Domain, block: &Domctl) -> Result<Answer, Stop> {
    let wanted: MaxMem = block.payload();
    domain
        .memory
        .set_max_pages(wanted.max_memkb >> (PAGE_SHIFT - 10));
    Ok(Answer::Plain)
}

/// `XEN_DOMCTL_max_vcpus`: confirms what `createdomain` made.
pub(super) fn max_vcpus(domain: &Domain, block: &Domctl) -> Result<Answer, Stop> {
    let wanted: MaxVcpus = block.payload();
    if wanted.max as usize != domain.vcpus().len() {
        return Err(Errno::EINVAL.into());
    }
    Ok(Answer::Plain)
}

/// `XEN_DOMCTL_setdomainhandle`: the UUID.
pub(super) fn handle(domain: &Domain, block: &Domctl) -> Result<Answer, Stop> {
    let wanted: SetDomainHandle = block.payload();
    *domain.handle.lock() = wanted.handle;
    Ok(Answer::Plain)
}

/// `XEN_DOMCTL_scheduler_op`: weight and cap, for put (0) and get (1).
pub(super) fn scheduler(domain: &DomainRef, block: &mut Domctl) -> Result<Answer, Stop> {
    let mut wanted: SchedulerOp = block.payload();
    if wanted.sched_id != SchedulerId::Credit2.number() {
        return Err(Errno::EINVAL.into());
    }
    match wanted.cmd {
        0 => {
            sched::set_share(domain, wanted.credit.weight, wanted.credit.cap)?;
            Ok(Answer::Plain)
        }
        1 => {
            let (weight, cap) = sched::share(domain);
            wanted.credit = SchedCredit { weight, cap };
            block.set_payload(&wanted);
            Ok(Answer::Block)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `XEN_DOMCTL_setvcpuaffinity`: the effective masks go back.
pub(super) fn set_affinity(domain: &DomainRef, block: &Domctl) -> Result<Answer, Stop> {
    let wanted: VcpuAffinity = block.payload();
    let flags = AffinityFlags::from_bits(wanted.flags).ok_or(Errno::EINVAL)?;
    let vcpu = crate::domain::VcpuRef::new(domain, wanted.vcpu).ok_or(Errno::ESRCH)?;
    let (mut hard, mut soft) = vcpu.sched.affinity();
    if flags.contains(AffinityFlags::HARD) {
        hard = read_mask(wanted.cpumap_hard)?;
        if hard.and(sched::online()).is_empty() {
            return Err(Errno::EINVAL.into());
        }
    }
    if flags.contains(AffinityFlags::SOFT) {
        soft = read_mask(wanted.cpumap_soft)?;
    }
    sched::set_affinity(&vcpu, hard, soft);
    Ok(Answer::Plain)
}

/// `XEN_DOMCTL_getvcpuaffinity`.
pub(super) fn get_affinity(domain: &Domain, block: &Domctl) -> Result<Answer, Stop> {
    let asked: VcpuAffinity = block.payload();
    let flags = AffinityFlags::from_bits(asked.flags).ok_or(Errno::EINVAL)?;
    let (hard, soft) = domain
        .vcpu(asked.vcpu)
        .ok_or(Errno::ESRCH)?
        .sched
        .affinity();
    if flags.contains(AffinityFlags::HARD) {
        write_mask(asked.cpumap_hard, hard)?;
    }
    if flags.contains(AffinityFlags::SOFT) {
        write_mask(asked.cpumap_soft, soft)?;
    }
    Ok(Answer::Plain)
}

/// Reads a CPU bitmap of any length; CPUs beyond the core's maximum do not count.
fn read_mask(bitmap: Bitmap) -> Result<CpuMask, Errno> {
    let mut bytes = [0; 8];
    let given = (bitmap.nr_bits.div_ceil(8) as usize).min(bytes.len());
    let into = bytes.get_mut(..given).ok_or(Errno::EINVAL)?;
    GuestPtr::<u8>::new(bitmap.bitmap.get()).copy_in_slice(into)?;
    let bits = u64::from_le_bytes(bytes);
    let valid = 1u64
        .checked_shl(bitmap.nr_bits)
        .map_or(u64::MAX, |bit| bit - 1);
    Ok(CpuMask::from_bits(bits & valid))
}

/// Writes as much of a CPU set as the caller's bitmap holds.
fn write_mask(bitmap: Bitmap, mask: CpuMask) -> Result<(), Errno> {
    let bytes = mask.bits().to_le_bytes();
    let room = (bitmap.nr_bits.div_ceil(8) as usize).min(bytes.len());
    let from = bytes.get(..room).ok_or(Errno::EINVAL)?;
    GuestPtr::<u8>::new(bitmap.bitmap.get()).copy_out_slice(from)
}

/// `XEN_DOMCTL_set_address_size`: 64 bits it is.
pub(super) fn set_address_size(block: &Domctl) -> Result<Answer, Stop> {
    let wanted: AddressSize = block.payload();
    if wanted.size == 64 {
        Ok(Answer::Plain)
    } else {
        Err(Errno::EINVAL.into())
    }
}

/// `XEN_DOMCTL_get_address_size`.
pub(super) fn get_address_size(block: &mut Domctl) -> Result<Answer, Stop> {
    block.set_payload(&AddressSize { size: 64 });
    Ok(Answer::Block)
}

/// `XEN_DOMCTL_gettscinfo`: guests read the machine's own counter.
pub(super) fn get_tsc_info(block: &mut Domctl) -> Result<Answer, Stop> {
    /// `TSC_MODE_NEVER_EMULATE`.
    const NATIVE: u32 = 2;
    block.set_payload(&TscInfo {
        tsc_mode: NATIVE,
        gtsc_khz: crate::time::tsc_khz(),
        ..TscInfo::default()
    });
    Ok(Answer::Block)
}
