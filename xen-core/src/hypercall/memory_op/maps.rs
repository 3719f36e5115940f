//! Maps of memory: a domain's own, as the toolstack set it, and the machine's.

use alloc::vec::Vec;

use guest_abi::errno::Errno;
use guest_abi::memory::{E820Entry, ForeignMemoryMap, MemoryMap};

use super::super::guest_ptr::GuestPtr;
use super::super::{Call, Reply};
use crate::boot;

/// The most ranges a map may have: as many as a PC's firmware reports.
const MAX_RANGES: u32 = 128;

/// `XENMEM_memory_map`: the caller's map. A domain without one is told to do without.
pub(super) fn memory_map(call: &Call<'_>, arg: GuestPtr<MemoryMap>) -> Reply {
    let map = call.domain().memory.map();
    if map.is_empty() {
        return Err(Errno::ENOSYS.into());
    }
    copy_map_out(arg, &map)
}

/// `XENMEM_machine_memory_map`: what the firmware reported.
pub(super) fn machine_memory_map(call: &Call<'_>, arg: GuestPtr<MemoryMap>) -> Reply {
    call.require_privilege()?;
    let regions = &boot::machine().loader.regions;
    let map: Vec<E820Entry> = regions
        .iter()
        .map(|region| E820Entry {
            addr: region.start,
            size: region.end.saturating_sub(region.start),
            kind: region.kind.to_e820(),
        })
        .collect();
    copy_map_out(arg, &map)
}

fn copy_map_out(arg: GuestPtr<MemoryMap>, map: &[E820Entry]) -> Reply {
    let mut header = arg.copy_in()?;
    let room = usize::try_from(header.nr_entries).unwrap_or(0);
    let fits = map.get(..map.len().min(room)).unwrap_or(map);
    GuestPtr::<E820Entry>::new(header.buffer.get()).copy_out_slice(fits)?;
    header.nr_entries = u32::try_from(fits.len()).unwrap_or(0);
    arg.copy_out(&header)?;
    Ok(0)
}

/// `XENMEM_set_memory_map`: gives a domain its map.
pub(super) fn set_memory_map(call: &Call<'_>, arg: GuestPtr<ForeignMemoryMap>) -> Reply {
    call.require_privilege()?;
    let wanted = arg.copy_in()?;
    let domain = call.resolve(wanted.domid)?;
    if wanted.map.nr_entries > MAX_RANGES {
        return Err(Errno::EINVAL.into());
    }
    let from = GuestPtr::<E820Entry>::new(wanted.map.buffer.get());
    let map: Result<Vec<_>, Errno> = (0..u64::from(wanted.map.nr_entries))
        .map(|index| from.at(index)?.copy_in())
        .collect();
    domain.memory.set_map(map?);
    Ok(0)
}
