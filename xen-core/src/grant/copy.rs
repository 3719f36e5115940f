//! Copying between frames, each granted or the caller's own.

use core::fmt;

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

/// Which page one side of a copy means.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Page {
    what: u64,
    domid: DomIdArg,
    is_grant: bool,
}

impl Page {
    const fn of(end: &CopyEnd, is_grant: bool) -> Self {
        Self {
            what: end.what,
            domid: end.domid,
            is_grant,
        }
    }
}

/// A page, claimed for one side of a copy.
struct Claim<P> {
    page: Page,
    frame: Mfn,
    access: Access,
    grant: Option<(P, GrantRef)>,
}

/// Copies on behalf of one caller, one after the other.
///
/// Rings carry many small pieces of the same pages, so both pages of a copy stay claimed until the
/// next one means others, or the batch ends.
pub struct Copier<'a, P: Party, M: CopyMachine> {
    caller: &'a P,
    machine: &'a M,
    source: Option<Claim<P>>,
    dest: Option<Claim<P>>,
    /// The two domains named last, the very last one first: enough for copies between two guests.
    peers: [Option<(DomIdArg, P)>; 2],
}

impl<'a, P: Party, M: CopyMachine> Copier<'a, P, M> {
    /// Nothing copied yet.
    pub const fn new(caller: &'a P, machine: &'a M) -> Self {
        Self {
            caller,
            machine,
            source: None,
            dest: None,
            peers: [None, None],
        }
    }

    /// Performs one copy. `find` resolves the domains it names.
    ///
    /// # Errors
    /// Why no byte was copied.
    pub fn copy(
        &mut self,
        op: &GrantCopy,
        find: impl Fn(DomIdArg) -> Option<P>,
    ) -> Result<(), Refusal> {
        let len = usize::from(op.len);
        let (from, to) = (usize::from(op.source.offset), usize::from(op.dest.offset));
        if from + len > PAGE_SIZE || to + len > PAGE_SIZE {
            return Err(GrantStatus::BadCopyArg.into());
        }
        let flags = CopyFlags::from_bits_truncate(op.flags);
        let source = Page::of(&op.source, flags.contains(CopyFlags::SOURCE_GREF));
        let source = match &self.source {
            Some(claim) if claim.page == source => claim.frame,
            _ => {
                let claim = self.claim(source, Access::Read, &find)?;
                claim.put_in(&mut self.source, self.machine)
            }
        };
        let dest = Page::of(&op.dest, flags.contains(CopyFlags::DEST_GREF));
        let dest = match &self.dest {
            Some(claim) if claim.page == dest => claim.frame,
            _ => {
                let claim = self.claim(dest, Access::Write, &find)?;
                claim.put_in(&mut self.dest, self.machine)
            }
        };
        self.machine.copy((source, from), (dest, to), len);
        Ok(())
    }

    fn claim(
        &mut self,
        page: Page,
        access: Access,
        find: &impl Fn(DomIdArg) -> Option<P>,
    ) -> Result<Claim<P>, Refusal> {
        if page.is_grant {
            return self.claim_granted(page, access, find);
        }
        // By frame number only one's own: foreign memory is reached by grants alone.
        if page.domid != DomIdArg::SELF {
            return Err(GrantStatus::PermissionDenied.into());
        }
        let frame = Mfn::new(page.what);
        self.machine
            .hold(self.caller.id(), frame, access)
            .map_err(|_| GrantStatus::BadPage)?;
        Ok(Claim {
            page,
            frame,
            access,
            grant: None,
        })
    }

    fn claim_granted(
        &mut self,
        page: Page,
        access: Access,
        find: &impl Fn(DomIdArg) -> Option<P>,
    ) -> Result<Claim<P>, Refusal> {
        let granter = self.peer(page.domid, find)?.clone();
        // Of the field, a reference is the lower half.
        let reference = GrantRef::new((page.what & 0xffff_ffff) as u32);
        let frame = begin_use(&granter, reference, self.caller.id(), access, self.machine)?;
        Ok(Claim {
            page,
            frame,
            access,
            grant: Some((granter, reference)),
        })
    }

    /// The domain of that number.
    fn peer(
        &mut self,
        domid: DomIdArg,
        find: &impl Fn(DomIdArg) -> Option<P>,
    ) -> Result<&P, Refusal> {
        let is_named = |peer: &Option<(DomIdArg, P)>| matches!(peer, Some((id, _)) if *id == domid);
        let [last, other] = &mut self.peers;
        if !is_named(last) {
            core::mem::swap(last, other);
        }
        if !is_named(last) {
            *last = Some((domid, find(domid).ok_or(GrantStatus::BadDomain)?));
        }
        match last {
            Some((_, peer)) => Ok(peer),
            None => Err(GrantStatus::BadDomain.into()),
        }
    }
}

impl<P: Party, M: CopyMachine> fmt::Debug for Copier<'_, P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = |claim: &Option<Claim<P>>| claim.as_ref().map(|claim| claim.frame);
        let (source, dest) = (frame(&self.source), frame(&self.dest));
        write!(f, "Copier({source:?} to {dest:?})")
    }
}

impl<P: Party, M: CopyMachine> Drop for Copier<'_, P, M> {
    fn drop(&mut self) {
        for claim in [self.source.take(), self.dest.take()].into_iter().flatten() {
            claim.release(self.machine);
        }
    }
}

impl<P: Party> Claim<P> {
    /// Takes the place of the claim before it; the frame.
    fn put_in(self, slot: &mut Option<Self>, machine: &impl Machine) -> Mfn {
        let frame = self.frame;
        if let Some(before) = slot.replace(self) {
            before.release(machine);
        }
        frame
    }

    fn release(self, machine: &impl Machine) {
        match self.grant {
            Some((granter, reference)) => {
                end_use(&granter, reference, self.frame, self.access, machine);
            }
            None => machine.let_go(self.frame, self.access),
        }
    }
}
