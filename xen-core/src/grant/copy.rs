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

    /// Of a grant: which. Of the field, a reference is the lower half.
    const fn reference(self) -> GrantRef {
        GrantRef::new((self.what & 0xffff_ffff) as u32)
    }
}

/// The two sides of a copy.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Dest,
}

impl Side {
    const fn access(self) -> Access {
        match self {
            Self::Source => Access::Read,
            Self::Dest => Access::Write,
        }
    }
}

/// A page, claimed for one side of a copy.
#[derive(Clone, Copy)]
struct Claim {
    page: Page,
    frame: Mfn,
    /// Which of the copier's peers granted it; `None` for one of the caller's own.
    granter: Option<usize>,
}

/// Copies on behalf of one caller, one after the other.
///
/// Rings carry many small pieces of the same pages, so both pages of a copy stay claimed until the
/// next one means others, or the batch ends.
pub struct Copier<'a, P: Party, M: CopyMachine> {
    caller: &'a P,
    machine: &'a M,
    /// By [`Side`].
    claims: [Option<Claim>; 2],
    peers: Peers<P>,
}

impl<'a, P: Party, M: CopyMachine> Copier<'a, P, M> {
    /// Nothing copied yet.
    pub const fn new(caller: &'a P, machine: &'a M) -> Self {
        Self {
            caller,
            machine,
            claims: [None; 2],
            peers: Peers::new(),
        }
    }

    /// Performs one copy. `find` resolves the domains it names.
    ///
    /// # Errors
    /// Why no byte was copied.
    #[inline]
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
        let source = match self.claimed(Side::Source, source) {
            Some(frame) => frame,
            None => self.claim_source(source, &find)?,
        };
        let dest = Page::of(&op.dest, flags.contains(CopyFlags::DEST_GREF));
        let dest = match self.claimed(Side::Dest, dest) {
            Some(frame) => frame,
            None => self.claim_dest(dest, &find)?,
        };
        self.machine.copy((source, from), (dest, to), len);
        Ok(())
    }

    /// The frame, if this very page is claimed for that side.
    #[inline]
    fn claimed(&self, side: Side, page: Page) -> Option<Mfn> {
        match &self.claims[side as usize] {
            Some(claim) if claim.page == page => Some(claim.frame),
            _ => None,
        }
    }

    // One function for each side: `claim` once over, with the access known.

    #[inline(never)]
    fn claim_source(
        &mut self,
        page: Page,
        find: &impl Fn(DomIdArg) -> Option<P>,
    ) -> Result<Mfn, Refusal> {
        self.claim(Side::Source, page, find)
    }

    #[inline(never)]
    fn claim_dest(
        &mut self,
        page: Page,
        find: &impl Fn(DomIdArg) -> Option<P>,
    ) -> Result<Mfn, Refusal> {
        self.claim(Side::Dest, page, find)
    }

    /// Claims a page for that side in place of the one before.
    #[inline(always)]
    fn claim(
        &mut self,
        side: Side,
        page: Page,
        find: &impl Fn(DomIdArg) -> Option<P>,
    ) -> Result<Mfn, Refusal> {
        self.release(side);
        let (frame, granter) = if page.is_grant {
            let (frame, granter) = self.begin(side, page, find)?;
            (frame, Some(granter))
        } else {
            (self.hold_own(page, side.access())?, None)
        };
        self.claims[side as usize] = Some(Claim {
            page,
            frame,
            granter,
        });
        Ok(frame)
    }

    fn hold_own(&self, page: Page, access: Access) -> Result<Mfn, Refusal> {
        // By frame number only one's own: foreign memory is reached by grants alone.
        if page.domid != DomIdArg::SELF {
            return Err(GrantStatus::PermissionDenied.into());
        }
        let frame = Mfn::new(page.what);
        self.machine
            .hold(self.caller.id(), frame, access)
            .map_err(|_| GrantStatus::BadPage)?;
        Ok(frame)
    }

    /// Begins a use of the grant that `page` means: its frame, and the peer that granted it.
    #[inline(always)]
    fn begin(
        &mut self,
        side: Side,
        page: Page,
        find: &impl Fn(DomIdArg) -> Option<P>,
    ) -> Result<(Mfn, usize), Refusal> {
        let index = match self.peers.index_of(page.domid) {
            Some(index) => index,
            None => self.meet(side, page.domid, find)?,
        };
        let granter = self.peers.get(index).ok_or(GrantStatus::BadDomain)?;
        let (caller, access) = (self.caller.id(), side.access());
        let frame = begin_use(granter, page.reference(), caller, access, self.machine)?;
        Ok((frame, index))
    }

    /// Looks a domain up that is no peer yet, and makes it one.
    #[cold]
    fn meet(
        &mut self,
        side: Side,
        domid: DomIdArg,
        find: &impl Fn(DomIdArg) -> Option<P>,
    ) -> Result<usize, Refusal> {
        let peer = find(domid).ok_or(GrantStatus::BadDomain)?;
        let other = match side {
            Side::Source => Side::Dest,
            Side::Dest => Side::Source,
        };
        let in_use = self.claims[other as usize].and_then(|claim| claim.granter);
        Ok(self.peers.insert(domid, peer, in_use))
    }

    /// Lets go of the page claimed for that side.
    #[inline(always)]
    fn release(&mut self, side: Side) {
        let Some(claim) = self.claims[side as usize].take() else {
            return;
        };
        let (frame, access) = (claim.frame, side.access());
        match claim.granter.and_then(|index| self.peers.get(index)) {
            Some(granter) => {
                end_use(granter, claim.page.reference(), frame, access, self.machine);
            }
            None => self.machine.let_go(frame, access),
        }
    }
}

/// How many other domains a copier remembers: those of a source and a destination, and one more,
/// so that two sources may take turns.
const PEERS: usize = 3;

/// Domains that were looked up, by the number that the caller has for them.
///
/// Each is held as long as it stands here; a claim names the one that granted its page by index.
struct Peers<P> {
    known: [Option<(DomIdArg, P)>; PEERS],
    /// The place that the next one takes.
    next: usize,
}

impl<P> Peers<P> {
    const fn new() -> Self {
        Self {
            known: [const { None }; PEERS],
            next: 0,
        }
    }

    #[inline]
    fn index_of(&self, domid: DomIdArg) -> Option<usize> {
        self.known
            .iter()
            .position(|known| matches!(known, Some((id, _)) if *id == domid))
    }

    #[inline]
    fn get(&self, index: usize) -> Option<&P> {
        self.known.get(index)?.as_ref().map(|(_, peer)| peer)
    }

    /// Remembers one more in the place of another, which is not that of `in_use`.
    fn insert(&mut self, domid: DomIdArg, peer: P, in_use: Option<usize>) -> usize {
        if in_use == Some(self.next) {
            self.next = (self.next + 1) % PEERS;
        }
        let index = self.next % PEERS;
        self.known[index] = Some((domid, peer));
        self.next = (index + 1) % PEERS;
        index
    }
}

impl<P: Party, M: CopyMachine> fmt::Debug for Copier<'_, P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [source, dest] = self.claims.map(|claim| claim.map(|claim| claim.frame));
        write!(f, "Copier({source:?} to {dest:?})")
    }
}

impl<P: Party, M: CopyMachine> Drop for Copier<'_, P, M> {
    fn drop(&mut self) {
        self.release(Side::Source);
        self.release(Side::Dest);
    }
}
