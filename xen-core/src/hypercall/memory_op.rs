//! `memory_op`: reservations, the maps of memory, and pages mapped on behalf of tools.

mod maps;
mod reservation;

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::memory::{
    AcquireResource, MEMOP_CMD_BITS, MachphysMapping, MachphysMfnList, MemoryDomain, MemoryOp,
    RESOURCE_GRANT_TABLE_ID_SHARED, ResourceType,
};
use guest_abi::mmu::{MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop};
use crate::arch::m2p;
use crate::domain::Domain;
use crate::mm;

/// `memory_op(command, argument)`.
pub fn memory_op(call: &mut Call<'_>) -> Reply {
    let command = call.args[0] & ((1 << MEMOP_CMD_BITS) - 1);
    let start = call.args[0] >> MEMOP_CMD_BITS;
    let arg = call.args[1];
    match MemoryOp::from_register(command).ok_or(Errno::ENOSYS)? {
        MemoryOp::IncreaseReservation => reservation::increase(call, start, GuestPtr::new(arg)),
        MemoryOp::DecreaseReservation => reservation::decrease(call, start, GuestPtr::new(arg)),
        MemoryOp::PopulatePhysmap => reservation::populate(call, start, GuestPtr::new(arg)),
        MemoryOp::Exchange => reservation::exchange(call, GuestPtr::new(arg)),
        MemoryOp::MaximumRamPage => number(mm::totals().frames),
        MemoryOp::CurrentReservation => {
            number(domain_figure(call, arg, |d| d.memory.total_pages())?)
        }
        MemoryOp::MaximumReservation => number(domain_figure(call, arg, |d| d.memory.max_pages())?),
        MemoryOp::MachphysMapping => machphys_mapping(GuestPtr::new(arg)),
        MemoryOp::MachphysMfnList => machphys_mfn_list(GuestPtr::new(arg)),
        MemoryOp::MemoryMap => maps::memory_map(call, GuestPtr::new(arg)),
        MemoryOp::SetMemoryMap => maps::set_memory_map(call, GuestPtr::new(arg)),
        MemoryOp::MachineMemoryMap => maps::machine_memory_map(call, GuestPtr::new(arg)),
        // Memory is taken when a domain is built; there is nothing to claim beforehand.
        MemoryOp::ClaimPages => call.require_privilege().map(|()| 0).map_err(Stop::from),
        MemoryOp::AcquireResource => acquire_resource(call, GuestPtr::new(arg)),
        // For translated guests, populate on demand and NUMA, which Radon does not have.
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn number(figure: u64) -> Reply {
    Ok(i64::try_from(figure).unwrap_or(i64::MAX))
}

/// A figure of the domain that the argument names.
fn domain_figure(
    call: &Call<'_>,
    arg: u64,
    figure: impl FnOnce(&Domain) -> u64,
) -> Result<u64, Errno> {
    let arg = GuestPtr::<MemoryDomain>::new(arg).copy_in()?;
    Ok(figure(&*call.resolve(arg.domid)?))
}

fn machphys_mapping(arg: GuestPtr<MachphysMapping>) -> Reply {
    arg.copy_out(&MachphysMapping {
        v_start: MACH2PHYS_VIRT_START,
        v_end: MACH2PHYS_VIRT_END,
        max_mfn: Mfn::new(mm::totals().frames.saturating_sub(1)),
    })?;
    Ok(0)
}

/// The table comes in pieces of 2 MiB: the first frame of each.
fn machphys_mfn_list(arg: GuestPtr<MachphysMfnList>) -> Reply {
    const PIECE: usize = 512;
    let mut list = arg.copy_in()?;
    let (first, frames) = m2p::own_frames();
    let room = usize::try_from(list.max_extents).unwrap_or(0);
    let out = GuestPtr::<u64>::new(list.extent_start.get());
    list.nr_extents = 0;
    for offset in (0..frames).step_by(PIECE).take(room) {
        out.at(u64::from(list.nr_extents))?
            .copy_out(&(first.get() + offset))?;
        list.nr_extents += 1;
    }
    arg.copy_out(&list)?;
    Ok(0)
}

/// Frames that belong to a domain without being its memory: those of its grant table.
fn acquire_resource(call: &Call<'_>, arg: GuestPtr<AcquireResource>) -> Reply {
    call.require_privilege()?;
    let mut wanted = arg.copy_in()?;
    let domain = call.lookup(wanted.domid)?;
    if ResourceType::from_number(wanted.kind) != Some(ResourceType::GrantTable)
        || wanted.id != RESOURCE_GRANT_TABLE_ID_SHARED
    {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let list = GuestPtr::<u64>::new(wanted.frame_list.get());
    if list.is_null() {
        wanted.nr_frames = domain.grants.max_frames();
        arg.copy_out(&wanted)?;
        return Ok(0);
    }
    for index in 0..u64::from(wanted.nr_frames) {
        let frame = wanted.frame.checked_add(index).ok_or(Errno::EINVAL)?;
        let frame = u32::try_from(frame).map_err(|_| Errno::EINVAL)?;
        let mfn = domain.grants.frame(domain.id, frame)?;
        list.at(index)?.copy_out(&mfn.get())?;
    }
    Ok(0)
}
