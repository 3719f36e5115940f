//! `update_va_mapping`: sets the L1 entry of an address, and flushes it.

use guest_abi::errno::Errno;
use guest_abi::frame::GuestVirtAddr;
use guest_abi::ids::{DomId, DomIdArg};
use guest_abi::mmu::{Pte, UVMF_ALL, UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_NONE, UVMF_TLB_FLUSH};

use super::{Call, Reply, flush};
use crate::arch;
use crate::cpu::CpuMask;
use crate::effect::Flush;
use crate::mm::access::{stop_for, with_space};
use crate::mm::pagetable::update::Bits;
use crate::mm::pagetable::{Budget, Refusal};
use crate::mm::roots::{Which, root};

/// `update_va_mapping(address, entry, flags)`.
pub fn update_va_mapping(call: &mut Call<'_>) -> Reply {
    update(call, call.domain().id)
}

/// `update_va_mapping_otherdomain(address, entry, flags, domain)`: maps a frame of the other.
pub fn update_va_mapping_otherdomain(call: &mut Call<'_>) -> Reply {
    let domid = DomIdArg::new(u16::try_from(call.args[3] & 0xffff).unwrap_or(0));
    let owner = call.resolve(domid)?.id;
    update(call, owner)
}

fn update(call: &Call<'_>, frames_of: DomId) -> Reply {
    let [va, value, flags, ..] = call.args;
    let va = GuestVirtAddr::new(va);
    let domain = call.domain();
    let top = root(call.vcpu, Which::Kernel).ok_or(Errno::EINVAL)?;
    // An L1 entry takes no validation of tables, so there is nothing to pause for.
    let mut budget = Budget::new(0);
    with_space(domain, &mut budget, |space| {
        let slot = space.find_leaf(top, va).ok_or(Refusal::NoTable)?;
        space.update(slot, Pte::new(value), frames_of, Bits::AsGiven)
    })
    .map_err(|error| stop_for(domain, format_args!("mapping of {va} := {value:#x}"), error))?;
    flush::apply(wanted_flush(call, va, flags)?);
    Ok(0)
}

fn wanted_flush(call: &Call<'_>, va: GuestVirtAddr, flags: u64) -> Result<Flush, Errno> {
    let kind = flags & UVMF_FLUSHTYPE_MASK;
    if kind == UVMF_NONE {
        return Ok(Flush::None);
    }
    let cpus = match flags & !UVMF_FLUSHTYPE_MASK {
        0 => CpuMask::only(arch::this_cpu()),
        UVMF_ALL => flush::cpus_of_domain(call),
        bitmap => flush::cpus_of_vcpus(call, bitmap)?,
    };
    match kind {
        UVMF_TLB_FLUSH => Ok(Flush::All(cpus)),
        UVMF_INVLPG => Ok(flush::page(cpus, va)),
        _ => Err(Errno::EINVAL),
    }
}
