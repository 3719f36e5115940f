//! One [`PageInfo`] for each frame of the machine: who owns it, how many refer to it, what it is.
//!
//! The rule: a frame is free exactly when nobody refers to it. A domain's own claim is one
//! reference ("allocated"); each mapping, type and pin is another. Whoever gives the last one back
//! gives the frame back. Owner and count share one atomic word, so a reference is only ever taken
//! on a frame that belongs to whom the taker believes.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use guest_abi::ids::DomId;
use zerocopy::FromZeros;

use super::frame_alloc::{Block, BlockTable};
use super::page_type::{TypeState, TypeWord};

/// What a frame is to the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    /// Nothing that anybody owns: inside a free block, or no RAM at all.
    Void = 0,
    /// The first frame of a free block.
    FreeBlock = 1,
    /// Belongs to its owner.
    Allocated = 2,
    /// Its owner gave it up; it is freed when the last reference goes.
    GivenUp = 3,
}

/// A frame's ownership and general references.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefState {
    /// Who it belongs to.
    pub owner: DomId,
    /// What it is to the allocator.
    pub status: Status,
    /// Whether it is one of the core's pages, lent to its owner and outside its reservation.
    pub lent: bool,
    /// References, the owner's claim included.
    pub refs: u32,
}

/// Why no reference could be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefError {
    /// Not a frame of that owner.
    NotOwned(RefState),
    /// The counter is full.
    TooMany,
}

const STATUS_SHIFT: u32 = 48;
const STATUS: u64 = 3 << STATUS_SHIFT;
const OWNER_SHIFT: u32 = 32;
const OWNER: u64 = 0xffff << OWNER_SHIFT;
const COUNT: u64 = 0xffff_ffff;
/// Half the range, so that no sum of two counts overflows in the sweep.
const MAX_COUNT: u64 = COUNT / 2;

/// What the word of a frame that belongs to `owner` says besides the count.
const fn allocated_to(owner: DomId) -> u64 {
    (owner.get() as u64) << OWNER_SHIFT | (Status::Allocated as u64) << STATUS_SHIFT
}

impl RefState {
    const VOID: Self = Self {
        owner: DomId::new(0),
        status: Status::Void,
        lent: false,
        refs: 0,
    };

    // Layout: 0-31 references, 32-47 owner, 48-49 status, 50 lent. Void is all zero.
    const fn to_bits(self) -> u64 {
        self.refs as u64
            | (self.owner.get() as u64) << OWNER_SHIFT
            | (self.status as u64) << STATUS_SHIFT
            | (self.lent as u64) << 50
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes the fields apart")]
    const fn from_bits(bits: u64) -> Self {
        Self {
            refs: bits as u32,
            owner: DomId::new((bits >> OWNER_SHIFT) as u16),
            status: match bits >> STATUS_SHIFT & 3 {
                0 => Status::Void,
                1 => Status::FreeBlock,
                2 => Status::Allocated,
                _ => Status::GivenUp,
            },
            lent: bits >> 50 & 1 != 0,
        }
    }
}

/// Neighbours in a list of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Links {
    /// The frame before, or [`Links::NONE`].
    pub prev: u32,
    /// The frame after, or [`Links::NONE`].
    pub next: u32,
}

impl Links {
    /// No neighbour.
    pub const NONE: u32 = u32::MAX;
}

/// What the core knows of one frame.
///
/// All zero is a frame that nobody owns and nothing refers to.
#[derive(Debug, Default, FromZeros)]
#[repr(C)]
pub struct PageInfo {
    refs: AtomicU64,
    /// What it is used as.
    pub ty: TypeWord,
    // In a free block: the block list, and the order in `aux`. Owned: the owner's page list.
    prev: AtomicU32,
    next: AtomicU32,
    // While its type is partial: its place in the owner's work list (two links). Otherwise: the
    // flush clock when the frame was last used as what it last was.
    aux: AtomicU64,
}

const _: () = assert!(size_of::<PageInfo>() == 32);

impl PageInfo {
    /// Owner and references now.
    #[inline]
    pub fn refs(&self) -> RefState {
        RefState::from_bits(self.refs.load(Ordering::Acquire))
    }

    /// The owner now.
    #[expect(clippy::cast_possible_truncation, reason = "takes the field out")]
    #[inline]
    pub fn owner(&self) -> DomId {
        DomId::new((self.refs.load(Ordering::Acquire) >> OWNER_SHIFT) as u16)
    }

    /// Whether references to it are counted: it is, or was, somebody's memory.
    #[inline]
    pub fn is_counted(&self) -> bool {
        self.refs.load(Ordering::Acquire) & STATUS != 0
    }

    /// Takes a reference to a frame of `owner`.
    ///
    /// # Errors
    /// When it is not the owner's.
    #[inline]
    pub fn get(&self, owner: DomId) -> Result<(), RefError> {
        let wanted = allocated_to(owner);
        let mut bits = self.refs.load(Ordering::Acquire);
        // A frame that its owner gave up lives on for those who hold it, not for new users.
        while bits & (OWNER | STATUS) == wanted && bits & COUNT < MAX_COUNT {
            match self.swap(bits, bits + 1) {
                Ok(()) => return Ok(()),
                Err(now) => bits = now,
            }
        }
        if bits & (OWNER | STATUS) == wanted {
            Err(RefError::TooMany)
        } else {
            Err(RefError::NotOwned(RefState::from_bits(bits)))
        }
    }

    /// Takes one more reference, for somebody who holds one already.
    pub fn get_again(&self) {
        // The counter cannot run over: each general reference but a few of the core's own is an
        // entry in a page table, and `get` stops at half the range.
        self.refs.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives a reference back; says whether it was the last.
    #[must_use = "the last reference frees the frame"]
    #[inline]
    pub fn put(&self) -> bool {
        let before = self.refs.fetch_sub(1, Ordering::AcqRel) & COUNT;
        debug_assert!(before > 0, "a reference too many was given back");
        before == 1
    }

    /// Hands a frame that nobody refers to over to `owner`, with the owner's claim on it. A lent
    /// one is writable for as long as it is lent, because the core itself writes it: its owner
    /// must never make a table of it.
    pub fn assign(&self, owner: DomId, lent: bool) {
        self.ty.store(if lent {
            TypeState::WRITABLE
        } else {
            TypeState::FRESH
        });
        self.aux.store(0, Ordering::Relaxed);
        let state = RefState {
            owner,
            status: Status::Allocated,
            lent,
            refs: 1,
        };
        self.refs.store(state.to_bits(), Ordering::Release);
    }

    /// Ends the owner's claim, whose reference the caller then gives back.
    ///
    /// # Errors
    /// When it is not the owner's, or no longer.
    pub fn give_up(&self, owner: DomId) -> Result<RefState, RefError> {
        let mut bits = self.refs.load(Ordering::Acquire);
        loop {
            let state = RefState::from_bits(bits);
            if state.status != Status::Allocated || state.owner != owner {
                return Err(RefError::NotOwned(state));
            }
            let given_up = RefState {
                status: Status::GivenUp,
                ..state
            };
            match self.swap(bits, given_up.to_bits()) {
                Ok(()) => return Ok(state),
                Err(now) => bits = now,
            }
        }
    }

    /// Takes a frame whose last reference is gone out of its owner's hands.
    pub fn reclaim(&self) {
        self.refs.store(RefState::VOID.to_bits(), Ordering::Release);
    }

    fn swap(&self, from: u64, to: u64) -> Result<(), u64> {
        self.refs
            .compare_exchange_weak(from, to, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
    }

    /// The flush clock when this frame was last used as what it last was.
    pub fn stamp(&self) -> u64 {
        self.aux.load(Ordering::Acquire)
    }

    /// Notes the flush clock.
    pub fn set_stamp(&self, now: u64) {
        self.aux.store(now, Ordering::Release);
    }

    /// Notes the flush clock, unless a later reading stands there.
    pub fn raise_stamp(&self, now: u64) {
        self.aux.fetch_max(now, Ordering::AcqRel);
    }

    /// Its place in the owner's page list. Guarded by the owner's memory account.
    pub fn links(&self) -> Links {
        Links {
            prev: self.prev.load(Ordering::Relaxed),
            next: self.next.load(Ordering::Relaxed),
        }
    }

    /// Sets its place in the owner's page list.
    pub fn set_links(&self, links: Links) {
        self.prev.store(links.prev, Ordering::Relaxed);
        self.next.store(links.next, Ordering::Relaxed);
    }

    /// Its place in the owner's work list, while its type is partial. Guarded by the owner's
    /// tables lock.
    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    pub fn work_links(&self) -> Links {
        let bits = self.aux.load(Ordering::Relaxed);
        Links {
            prev: bits as u32,
            next: (bits >> 32) as u32,
        }
    }

    /// Sets its place in the owner's work list.
    pub fn set_work_links(&self, links: Links) {
        let bits = u64::from(links.prev) | u64::from(links.next) << 32;
        self.aux.store(bits, Ordering::Relaxed);
    }
}

/// The frame table as the allocator sees it.
#[derive(Debug)]
pub struct FreeBlocks<'a>(pub &'a [PageInfo]);

impl BlockTable for FreeBlocks<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "orders are small")]
    fn block(&self, frame: u32) -> Option<Block> {
        let page = self.0.get(frame as usize)?;
        if page.refs().status != Status::FreeBlock {
            return None;
        }
        let links = page.links();
        Some(Block {
            order: page.refs.load(Ordering::Relaxed) as u8,
            prev: links.prev,
            next: links.next,
            stamp: page.stamp(),
        })
    }

    fn set_block(&mut self, frame: u32, block: Option<Block>) {
        let Some(page) = self.0.get(frame as usize) else {
            return;
        };
        let Some(block) = block else {
            page.reclaim();
            return;
        };
        page.set_links(Links {
            prev: block.prev,
            next: block.next,
        });
        page.set_stamp(block.stamp);
        let state = RefState {
            status: Status::FreeBlock,
            // The count of a frame to which nobody can refer holds the order.
            refs: u32::from(block.order),
            ..RefState::VOID
        };
        page.refs.store(state.to_bits(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{PageInfo, RefError, Status};
    use crate::mm::page_type::PageType;
    use guest_abi::ids::DomId;

    const ALICE: DomId = DomId::new(1);
    const BOB: DomId = DomId::new(2);

    #[test]
    fn a_frame_nobody_owns_refuses_references() {
        assert!(PageInfo::default().get(ALICE).is_err());
    }

    #[test]
    fn only_the_owner_named_gives_references() {
        let page = PageInfo::default();
        page.assign(ALICE, false);
        assert!(matches!(page.get(BOB), Err(RefError::NotOwned(s)) if s.owner == ALICE));
        assert!(page.get(ALICE).is_ok());
        assert_eq!(page.refs().refs, 2);
    }

    #[test]
    fn a_lent_page_never_becomes_a_table() {
        let page = PageInfo::default();
        page.assign(ALICE, true);
        for want in [PageType::L1, PageType::L4, PageType::Descriptors] {
            assert!(page.ty.load().get(want, None).is_err());
        }
    }

    #[test]
    fn a_frame_given_up_lives_until_its_last_user_goes() {
        let page = PageInfo::default();
        page.assign(ALICE, false);
        page.get(ALICE).unwrap();
        page.give_up(ALICE).unwrap();
        assert!(page.give_up(ALICE).is_err());
        assert!(!page.put());
        assert_eq!(page.refs().status, Status::GivenUp);
        assert!(page.get(ALICE).is_err());
        assert!(page.put());
    }
}
