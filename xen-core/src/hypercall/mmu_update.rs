//! `mmu_update`: writes page-table entries, and machine-to-phys entries.

use guest_abi::errno::Errno;
use guest_abi::frame::{MachAddr, Pfn};
use guest_abi::ids::{DomId, DomIdArg};
use guest_abi::mmu::{MmuUpdate, MmuUpdateKind, Pte};

use super::batch::{Batch, each, settle};
use super::{Call, Reply, Stop};
use crate::arch::m2p;
use crate::domain::{Domain, DomainRef};
use crate::mm::access::{CALL_BUDGET, refused, stop_for, with_space};
use crate::mm::hardware::Hardware;
use crate::mm::pagetable::update::Bits;
use crate::mm::pagetable::walk::Slot;
use crate::mm::pagetable::{Budget, Refusal, Space};

/// How many requests are copied in at a time.
const CHUNK: usize = 8;

/// `mmu_update(requests, count, done, foreign domain)`.
pub fn mmu_update(call: &mut Call<'_>) -> Reply {
    let mut batch = Batch::decode(call)?;
    let domid = call.args[3];
    let frames_of = frame_owner(call, domid)?;
    let foreign = table_owner(call, domid)?;
    let domain = foreign.as_deref().unwrap_or(call.domain());
    let outcome = run(domain, frames_of, &mut batch);
    batch.finish(call, outcome)
}

/// Who owns the frames to be mapped: bits 0 to 15 of the argument.
pub(super) fn frame_owner(call: &Call<'_>, domid: u64) -> Result<DomId, Errno> {
    let arg = DomIdArg::new(u16::try_from(domid & 0xffff).unwrap_or(0));
    if arg == DomIdArg::SELF {
        return Ok(call.domain().id);
    }
    if arg.get() == DomId::IO.get() || arg.get() == DomId::XEN.get() {
        call.require_privilege()?;
        return Ok(DomId::new(arg.get()));
    }
    Ok(call.resolve(arg)?.id)
}

/// Whose tables are to be changed: bits 16 to 31 of the argument less one; `None` for the
/// caller's.
fn table_owner(call: &Call<'_>, domid: u64) -> Result<Option<DomainRef>, Errno> {
    match u16::try_from(domid >> 16 & 0xffff).unwrap_or(0) {
        0 => Ok(None),
        id => Ok(Some(call.resolve(DomIdArg::new(id - 1))?)),
    }
}

fn run(domain: &Domain, frames_of: DomId, batch: &mut Batch<MmuUpdate>) -> Result<(), Stop> {
    let mut budget = Budget::new(CALL_BUDGET);
    if batch.is_epilogue() {
        return with_space(domain, &mut budget, settle);
    }
    batch.run::<CHUNK>(|requests| {
        with_space(domain, &mut budget, |space| {
            each(space, requests, |space, request| {
                apply(space, domain, frames_of, request)
            })
        })
    })
}

#[inline]
fn apply(
    space: &mut Space<'_, Hardware>,
    domain: &Domain,
    frames_of: DomId,
    request: &MmuUpdate,
) -> Result<(), Stop> {
    let command = u32::try_from(request.ptr & 7).unwrap_or(0);
    let bits = match MmuUpdateKind::from_number(command) {
        Some(MmuUpdateKind::NormalPtUpdate | MmuUpdateKind::PtUpdateNoTranslate) => Bits::AsGiven,
        Some(MmuUpdateKind::PtUpdatePreserveAd) => Bits::PreserveAd,
        Some(MmuUpdateKind::MachphysUpdate) => {
            return Ok(set_m2p(space, domain, frames_of, request)?);
        }
        None => return Err(Errno::ENOSYS.into()),
    };
    let (at, val) = (request.ptr & !7, request.val);
    Slot::at(MachAddr::new(at))
        .ok_or(Refusal::Misaligned.into())
        .and_then(|slot| space.update(slot, Pte::new(val), frames_of, bits))
        .map_err(|error| stop_for(domain, format_args!("entry {at:#x} := {val:#x}"), error))
}

fn set_m2p(
    space: &Space<'_, Hardware>,
    domain: &Domain,
    frames_of: DomId,
    request: &MmuUpdate,
) -> Result<(), Errno> {
    let mfn = MachAddr::new(request.ptr).frame();
    let page = space
        .get_page(mfn, frames_of)
        .map_err(|refusal| refused(domain, format_args!("m2p update"), refusal))?;
    m2p::set(mfn, Pfn::new(request.val));
    space.put_page(mfn, page);
    Ok(())
}
