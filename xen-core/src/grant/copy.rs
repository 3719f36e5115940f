//! Copying between frames, each granted or the caller's own.

use guest_abi::PAGE_SIZE;
use guest_abi::frame::Mfn;
use guest_abi::grant_table::{CopyEnd, CopyFlags, GrantCopy, GrantStatus};
use guest_abi::ids::{DomIdArg, GrantRef};

use super::entry::Access;
use super::map::{Machine, Party, begin_use, end_use};
use super::refusal::Refusal;

/// What copying asks of memory management beyond [`Machine`].
pub trait CopyMachine: Machine {
    /// Copies `len` bytes; both ranges lie within their frames, which the caller holds.
    fn copy(&self, from: (Mfn, usize), to: (Mfn, usize), len: usize);
}

/// One side of a copy, held.
struct Buffer<P> {
    frame: Mfn,
    offset: usize,
    access: Access,
    grant: Option<(P, GrantRef)>,
}

/// Performs one copy on behalf of `caller`. `find` resolves the domains it names.
///
/// # Errors
/// The status that the ABI gives each failure; no byte was copied then.
pub fn copy<P: Party>(
    caller: &P,
    op: &GrantCopy,
    find: impl Fn(DomIdArg) -> Option<P>,
    machine: &impl CopyMachine,
) -> Result<(), Refusal> {
    let len = usize::from(op.len);
    let flags = CopyFlags::from_bits_truncate(op.flags);
    for end in [&op.source, &op.dest] {
        if usize::from(end.offset) + len > PAGE_SIZE {
            return Err(GrantStatus::BadCopyArg.into());
        }
    }
    let is_grant = flags.contains(CopyFlags::SOURCE_GREF);
    let source = claim(caller, &op.source, is_grant, Access::Read, &find, machine)?;
    let is_grant = flags.contains(CopyFlags::DEST_GREF);
    let dest = claim(caller, &op.dest, is_grant, Access::Write, &find, machine);
    if let Ok(dest) = &dest {
        machine.copy(
            (source.frame, source.offset),
            (dest.frame, dest.offset),
            len,
        );
    }
    release(source, machine);
    dest.map(|dest| release(dest, machine))
}

fn claim<P: Party>(
    caller: &P,
    end: &CopyEnd,
    is_grant: bool,
    access: Access,
    find: &impl Fn(DomIdArg) -> Option<P>,
    machine: &impl CopyMachine,
) -> Result<Buffer<P>, Refusal> {
    let offset = usize::from(end.offset);
    if is_grant {
        let granter = find(end.domid).ok_or(GrantStatus::BadDomain)?;
        let reference = end.reference();
        let frame = begin_use(&granter, reference, caller.id(), access, machine)?;
        return Ok(Buffer {
            frame,
            offset,
            access,
            grant: Some((granter, reference)),
        });
    }
    // By frame number only one's own: foreign memory is reached by grants alone.
    if end.domid != DomIdArg::SELF {
        return Err(GrantStatus::PermissionDenied.into());
    }
    let frame = Mfn::new(end.what);
    machine
        .hold(caller.id(), frame, access)
        .map_err(|_| GrantStatus::BadPage)?;
    Ok(Buffer {
        frame,
        offset,
        access,
        grant: None,
    })
}

fn release<P: Party>(buffer: Buffer<P>, machine: &impl Machine) {
    match buffer.grant {
        Some((granter, reference)) => {
            end_use(&granter, reference, buffer.frame, buffer.access, machine);
        }
        None => machine.let_go(buffer.frame, buffer.access),
    }
}
