//! Frames for domains, and back: `populate_physmap`, `increase_`, `decrease_reservation`,
//! `exchange`.
//!
//! All of them go through a list of extents and answer with how many they got through; less than
//! asked for means that the rest cannot be had now. They pause after a bounded number of pages.

use guest_abi::errno::Errno;
use guest_abi::frame::{Mfn, PAGE_SHIFT, Pfn};
use guest_abi::memory::{
    MEMF_ADDRESS_BITS_MASK, MEMOP_CMD_BITS, MemoryExchange, MemoryReservation,
};

use super::super::guest_ptr::GuestPtr;
use super::super::{Call, Reply, Stop};
use crate::domain::{Domain, DomainRef};
use crate::mm::access::{refused, with_space};
use crate::mm::pagetable::{Budget, Refusal};
use crate::mm::{Place, frame_use};

/// The largest extent: 2 MiB.
const MAX_ORDER: u8 = 9;
/// How many pages one call gives or takes before it pauses; each new one must be zeroed.
const PAGES_PER_CALL: u64 = 512;

/// A decoded list of extents.
struct Extents {
    list: GuestPtr<u64>,
    count: u64,
    order: u8,
    place: Place,
    domain: DomainRef,
}

impl Extents {
    fn decode(call: &Call<'_>, start: u64, arg: &MemoryReservation) -> Result<Self, Errno> {
        let order = u8::try_from(arg.extent_order).unwrap_or(u8::MAX);
        // Continued calls count in the bits above the command.
        if arg.nr_extents < start || arg.nr_extents >= u64::MAX >> MEMOP_CMD_BITS {
            return Err(Errno::EINVAL);
        }
        if order > MAX_ORDER {
            return Err(Errno::EPERM);
        }
        let place = place(arg.mem_flags);
        // Low frames are looked for block by block; only those who have devices need any.
        if place != Place::Anywhere {
            call.require_privilege()?;
        }
        Ok(Self {
            list: GuestPtr::new(arg.extent_start.get()),
            count: arg.nr_extents,
            order,
            place,
            domain: call.resolve(arg.domid)?,
        })
    }

    /// Does `each` extent from `start` on, until one cannot be done.
    fn run(
        &self,
        call: &mut Call<'_>,
        start: u64,
        mut each: impl FnMut(&Self, u64) -> Result<(), Errno>,
    ) -> Reply {
        let pause = start.saturating_add((PAGES_PER_CALL >> self.order).max(1));
        for index in start..self.count {
            if index >= pause {
                let command = call.args[0] & ((1 << MEMOP_CMD_BITS) - 1);
                call.args[0] = index << MEMOP_CMD_BITS | command;
                return Err(Stop::Again);
            }
            if each(self, index).is_err() {
                return super::number(index);
            }
        }
        super::number(self.count)
    }
}

/// What the address bits in `mem_flags` allow.
fn place(mem_flags: u32) -> Place {
    match mem_flags & MEMF_ADDRESS_BITS_MASK {
        0 => Place::Anywhere,
        bits => match 1u64.checked_shl(bits.saturating_sub(PAGE_SHIFT)) {
            Some(limit) => Place::Below(limit),
            None => Place::Anywhere,
        },
    }
}

/// `XENMEM_populate_physmap`: frames for given pfns; the list is overwritten with them.
pub(super) fn populate(call: &mut Call<'_>, start: u64, arg: GuestPtr<MemoryReservation>) -> Reply {
    let extents = Extents::decode(call, start, &arg.copy_in()?)?;
    extents.run(call, start, |extents, index| {
        let slot = extents.list.at(index)?;
        let pfn = Pfn::new(slot.copy_in()?);
        let mfn = extents
            .domain
            .memory
            .give(extents.order, pfn, extents.place)?;
        slot.copy_out(&mfn.get())
    })
}

/// `XENMEM_increase_reservation`: frames without pfns; the list may be missing.
pub(super) fn increase(call: &mut Call<'_>, start: u64, arg: GuestPtr<MemoryReservation>) -> Reply {
    let extents = Extents::decode(call, start, &arg.copy_in()?)?;
    extents.run(call, start, |extents, index| {
        let mfn = extents
            .domain
            .memory
            .give(extents.order, Pfn::INVALID, extents.place)?;
        if extents.list.is_null() {
            return Ok(());
        }
        extents.list.at(index)?.copy_out(&mfn.get())
    })
}

/// `XENMEM_decrease_reservation`: gives frames back.
pub(super) fn decrease(call: &mut Call<'_>, start: u64, arg: GuestPtr<MemoryReservation>) -> Reply {
    let extents = Extents::decode(call, start, &arg.copy_in()?)?;
    extents.run(call, start, |extents, index| {
        let first = Mfn::new(extents.list.at(index)?.copy_in()?);
        for offset in 0..1u64 << extents.order {
            give_back(
                &extents.domain,
                first.checked_add(offset).ok_or(Errno::EINVAL)?,
            )?;
        }
        Ok(())
    })
}

/// Gives one frame back. Mappings of it may remain: it is freed when the last one goes. A page
/// table in use is not taken from under its users' feet, pinned or not.
fn give_back(domain: &Domain, mfn: Mfn) -> Result<(), Errno> {
    // With the lock of the tables, so that nobody makes a table of it meanwhile.
    with_space(domain, &mut Budget::new(0), |space| {
        let what = format_args!("return of {mfn}");
        let use_ = frame_use(domain.id, mfn)
            .ok_or_else(|| refused(domain, what, Refusal::NoFrame(mfn)))?;
        if use_.table_level.is_some() {
            return Err(Errno::EBUSY);
        }
        let page = domain.memory.strike(mfn)?;
        space.put_page(mfn, page);
        Ok(())
    })
}

/// `XENMEM_exchange`: single frames for contiguous ones, for the privileged domain's own devices.
pub(super) fn exchange(call: &mut Call<'_>, arg: GuestPtr<MemoryExchange>) -> Reply {
    call.require_privilege()?;
    let mut wanted = arg.copy_in()?;
    let give = Extents::decode(call, 0, &wanted.give)?;
    let take = Extents::decode(call, 0, &wanted.take)?;
    let per_extent = 1u64 << take.order;
    let matches = take.count.checked_mul(per_extent) == Some(give.count);
    if give.order != 0 || !matches || wanted.nr_exchanged > give.count {
        return Err(Errno::EINVAL.into());
    }
    if give.domain.id != call.domain().id || take.domain.id != call.domain().id {
        return Err(Errno::EPERM.into());
    }
    let done = wanted.nr_exchanged / per_extent;
    for (pages, index) in (done..take.count).enumerate() {
        if pages as u64 * per_extent >= PAGES_PER_CALL {
            return Err(Stop::Again);
        }
        exchange_one(&give, &take, index)?;
        wanted.nr_exchanged = (index + 1) * per_extent;
        arg.copy_out(&wanted)?;
    }
    Ok(0)
}

/// One contiguous extent for as many single frames.
fn exchange_one(give: &Extents, take: &Extents, index: u64) -> Result<(), Errno> {
    let domain = &take.domain;
    let per_extent = 1u64 << take.order;
    let mut old = heapless::Vec::<Mfn, { 1 << MAX_ORDER }>::new();
    for offset in 0..per_extent {
        let mfn = Mfn::new(give.list.at(index * per_extent + offset)?.copy_in()?);
        old.push(mfn).map_err(|_| Errno::EINVAL)?;
    }
    let slot = take.list.at(index)?;
    let pfn = Pfn::new(slot.copy_in()?);
    let new = domain.memory.take_for_exchange(take.order, take.place)?;
    for mfn in old {
        if let Err(errno) = give_back(domain, mfn) {
            // What it gave so far stays given.
            domain.memory.cancel_exchange(new, take.order);
            return Err(errno);
        }
    }
    domain.memory.finish_exchange(new, take.order, pfn);
    slot.copy_out(&new.get())
}
