//! `mmuext_op`: pinning, roots, flushes, the LDT, and whole pages.

use guest_abi::errno::Errno;
use guest_abi::frame::{GuestVirtAddr, Mfn, PAGE_SIZE};
use guest_abi::ids::{DomId, DomIdArg};
use guest_abi::mmu::{MmuextCommand, MmuextOp};

use super::batch::{Batch, each, settle};
use super::{Call, Reply, Stop, flush};
use crate::arch::{self, direct_map, tlb};
use crate::cpu::CpuMask;
use crate::domain::Domain;
use crate::effect::Flush;
use crate::mm::access::{CALL_BUDGET, refused, stop_for, with_space};
use crate::mm::hardware::Hardware;
use crate::mm::pagetable::entry::Level;
use crate::mm::pagetable::{Budget, Space};
use crate::mm::roots::{Which, root, set_root};
use crate::trap::ldt::{self, Frames};

/// How many operations are copied in at a time.
const CHUNK: usize = 4;
/// Entries of the largest LDT.
const MAX_LDT_ENTRIES: u32 = 8192;

/// `mmuext_op(operations, count, done, foreign domain)`.
pub fn mmuext_op(call: &mut Call<'_>) -> Reply {
    let mut batch = Batch::decode(call)?;
    let domid = DomIdArg::new(u16::try_from(call.args[3] & 0xffff).unwrap_or(0));
    let foreign = if domid == DomIdArg::SELF {
        None
    } else {
        Some(call.resolve(domid)?).filter(|domain| domain.id != call.domain().id)
    };
    let target = Target {
        call,
        domain: foreign.as_deref().unwrap_or(call.domain()),
        foreign: foreign.is_some(),
    };
    let outcome = run(&target, &mut batch);
    batch.finish(call, outcome)
}

/// Who asks, and whose tables and frames are meant.
struct Target<'a> {
    call: &'a Call<'a>,
    domain: &'a Domain,
    foreign: bool,
}

impl Target<'_> {
    /// Refuses what only makes sense for the calling vCPU itself.
    fn own_only(&self) -> Result<(), Errno> {
        if self.foreign {
            Err(Errno::EPERM)
        } else {
            Ok(())
        }
    }

    fn id(&self) -> DomId {
        self.domain.id
    }
}

fn run(target: &Target<'_>, batch: &mut Batch<MmuextOp>) -> Result<(), Stop> {
    let mut budget = Budget::new(CALL_BUDGET);
    if batch.is_epilogue() {
        return with_space(target.domain, &mut budget, settle);
    }
    batch.run::<CHUNK>(|operations| {
        with_space(target.domain, &mut budget, |space| {
            each(space, operations, |space, operation| {
                apply(target, space, operation)
            })
        })
    })
}

type Tables<'a> = Space<'a, Hardware>;

fn apply(target: &Target<'_>, space: &mut Tables<'_>, op: &MmuextOp) -> Result<(), Stop> {
    let command = MmuextCommand::from_number(op.cmd).ok_or(Errno::ENOSYS)?;
    match command {
        MmuextCommand::PinL1Table => pin(target, space, op.mfn(), Level::L1),
        MmuextCommand::PinL2Table => pin(target, space, op.mfn(), Level::L2),
        MmuextCommand::PinL3Table => pin(target, space, op.mfn(), Level::L3),
        MmuextCommand::PinL4Table => pin(target, space, op.mfn(), Level::L4),
        MmuextCommand::UnpinTable => {
            let mfn = op.mfn();
            let unpinned = space.unpin(mfn);
            Ok(unpinned.map_err(|r| refused(target.domain, format_args!("unpin of {mfn}"), r))?)
        }
        MmuextCommand::NewBaseptr => new_baseptr(target, space, op.mfn()),
        MmuextCommand::NewUserBaseptr => new_user_baseptr(target, space, op.mfn()),
        MmuextCommand::SetLdt => set_ldt(target, space, op),
        MmuextCommand::ClearPage => clear_page(target, space, op.mfn()),
        MmuextCommand::CopyPage => copy_page(target, space, op.mfn(), op.src_mfn()),
        // Memory is write-back everywhere, so there is nothing to write back for ordinary guests.
        MmuextCommand::FlushCache | MmuextCommand::FlushCacheGlobal => {
            target.call.require_privilege().map_err(|_| Errno::EACCES)?;
            Err(Errno::EOPNOTSUPP.into())
        }
        MmuextCommand::MarkSuper | MmuextCommand::UnmarkSuper => Err(Errno::EOPNOTSUPP.into()),
        _ => Ok(flush_tlb(target, command, op)?),
    }
}

fn pin(target: &Target<'_>, space: &mut Tables<'_>, mfn: Mfn, level: Level) -> Result<(), Stop> {
    space.pin(mfn, level).map_err(|error| {
        let number = level.number();
        stop_for(
            target.domain,
            format_args!("pin of {mfn} as L{number}"),
            error,
        )
    })
}

fn new_baseptr(target: &Target<'_>, space: &mut Tables<'_>, mfn: Mfn) -> Result<(), Stop> {
    target.own_only()?;
    set_root(space, target.call.vcpu, Which::Kernel, Some(mfn))
        .map_err(|error| stop_for(target.domain, format_args!("root {mfn}"), error))?;
    // Also for the root in use: the guest counts on the flush.
    tlb::load_root(mfn);
    Ok(())
}

fn new_user_baseptr(target: &Target<'_>, space: &mut Tables<'_>, mfn: Mfn) -> Result<(), Stop> {
    target.own_only()?;
    let new = (mfn.get() != 0).then_some(mfn);
    set_root(space, target.call.vcpu, Which::User, new)
        .map_err(|error| stop_for(target.domain, format_args!("user root {mfn}"), error))?;
    Ok(())
}

fn flush_tlb(target: &Target<'_>, command: MmuextCommand, op: &MmuextOp) -> Result<(), Errno> {
    target.own_only()?;
    let call = target.call;
    let here = CpuMask::only(arch::this_cpu());
    let va = op.linear_addr();
    flush::apply(match command {
        MmuextCommand::TlbFlushLocal => Flush::All(here),
        MmuextCommand::InvlpgLocal => flush::page(here, va),
        MmuextCommand::TlbFlushMulti => Flush::All(flush::cpus_of_vcpus(call, op.arg2)?),
        MmuextCommand::InvlpgMulti => flush::page(flush::cpus_of_vcpus(call, op.arg2)?, va),
        MmuextCommand::TlbFlushAll => Flush::All(flush::cpus_of_domain(call)),
        MmuextCommand::InvlpgAll => flush::page(flush::cpus_of_domain(call), va),
        _ => return Err(Errno::ENOSYS),
    });
    Ok(())
}

fn clear_page(target: &Target<'_>, space: &mut Tables<'_>, mfn: Mfn) -> Result<(), Stop> {
    let page = space
        .get_writable(mfn, target.id())
        .map_err(|r| refused(target.domain, format_args!("clearing of {mfn}"), r))?;
    direct_map::zero_frame(mfn);
    space.put_writable(mfn, page);
    Ok(())
}

fn copy_page(target: &Target<'_>, space: &mut Tables<'_>, to: Mfn, from: Mfn) -> Result<(), Stop> {
    let source = space
        .get_page(from, target.id())
        .map_err(|r| refused(target.domain, format_args!("copying of {from}"), r))?;
    let copied = space.get_writable(to, target.id()).map(|page| {
        direct_map::copy_frame(from, to);
        space.put_writable(to, page);
    });
    space.put_page(from, source);
    Ok(copied.map_err(|r| refused(target.domain, format_args!("copying to {to}"), r))?)
}

/// Checks the pages of an LDT and makes it the calling vCPU's, all at once: the processor reads
/// descriptors at any time, so none is left to be checked at first use.
fn set_ldt(target: &Target<'_>, space: &mut Tables<'_>, op: &MmuextOp) -> Result<(), Stop> {
    target.own_only()?;
    let (base, entries) = (op.linear_addr(), op.nr_ents());
    if entries > MAX_LDT_ENTRIES || base.page_offset() != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut frames = Frames::new();
    let bytes = u64::from(entries) * 8;
    let taken = (0..bytes)
        .step_by(PAGE_SIZE)
        .try_for_each(|offset| take_ldt_page(target, space, base, offset, &mut frames));
    let released = match taken {
        Ok(()) => ldt::replace(target.call.vcpu, base, entries, &frames),
        Err(_) => frames,
    };
    for mfn in released {
        space.put_descriptors(mfn);
    }
    Ok(taken?)
}

fn take_ldt_page(
    target: &Target<'_>,
    space: &mut Tables<'_>,
    base: GuestVirtAddr,
    offset: u64,
    frames: &mut Frames,
) -> Result<(), Errno> {
    let va = base.checked_add(offset).ok_or(Errno::EINVAL)?;
    let top = root(target.call.vcpu, Which::Kernel).ok_or(Errno::EINVAL)?;
    let pte = space
        .find_leaf(top, va)
        .and_then(|slot| space.read(slot))
        .filter(|pte| pte.is_present())
        .ok_or(Errno::EFAULT)?;
    let mfn = pte.frame();
    space
        .get_descriptors(mfn, ldt::check_page)
        .map_err(|r| refused(target.domain, format_args!("LDT page {mfn}"), r))?;
    frames.push(mfn).map_err(|_| Errno::EINVAL)
}
