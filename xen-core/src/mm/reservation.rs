//! What each domain was promised, and which frames it has.
//!
//! A domain never has more frames than its maximum. Frames come zeroed; a frame that the domain
//! gives up counts as its own until the last user (a backend that still maps it, say) lets go.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use guest_abi::errno::Errno;
use guest_abi::frame::{Mfn, Pfn};
use guest_abi::ids::DomId;
use guest_abi::memory::E820Entry;

use super::frame_alloc::MAX_ORDER;
use super::frame_table::{Links, PageInfo};
use super::heap;
use crate::arch::{direct_map, m2p};
use crate::sync::SpinLock;

#[derive(Debug)]
struct Account {
    /// The first page of the list of those the domain has not given up.
    first: u32,
    /// Frames that carry its number.
    pages: u64,
    /// The most there may be.
    max: u64,
}

/// A domain's frames and limits.
#[derive(Debug)]
pub struct DomainMemory {
    owner: DomId,
    account: SpinLock<Account>,
    map: SpinLock<Vec<E820Entry>>,
    refusals: AtomicU32,
}

/// Where frames may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere.
    Anywhere,
    /// Below this frame.
    Below(u64),
}

impl DomainMemory {
    /// No frames, and no right to any.
    pub fn new(owner: DomId) -> Self {
        Self {
            owner,
            account: SpinLock::new(Account {
                first: Links::NONE,
                pages: 0,
                max: 0,
            }),
            map: SpinLock::new(Vec::new()),
            refusals: AtomicU32::new(0),
        }
    }

    /// How many frames it may have.
    pub fn max_pages(&self) -> u64 {
        self.account.lock().max
    }

    /// Sets how many frames it may have; those it has beyond stay.
    pub fn set_max_pages(&self, pages: u64) {
        self.account.lock().max = pages;
    }

    /// How many frames it has.
    pub fn total_pages(&self) -> u64 {
        self.account.lock().pages
    }

    /// Whether no frame carries its number any more.
    pub fn is_empty(&self) -> bool {
        self.total_pages() == 0
    }

    /// The memory map it is shown; empty for none.
    pub fn map(&self) -> Vec<E820Entry> {
        self.map.lock().clone()
    }

    /// Sets the memory map it is shown.
    pub fn set_map(&self, map: Vec<E820Entry>) {
        *self.map.lock() = map;
    }

    /// Gives it 2^order contiguous zeroed frames as the pages from `pfn` on; answers with the
    /// first.
    ///
    /// # Errors
    /// `ENOMEM` beyond its maximum or when there are none; `EINVAL` for a wild order.
    pub fn give(&self, order: u8, pfn: Pfn, place: Place) -> Result<Mfn, Errno> {
        let first = self.claim(order, place)?;
        zero(first, 1 << order);
        self.enlist(first, 1 << order, pfn);
        Ok(first)
    }

    /// As [`give`](Self::give), but the frames hold what they held: see
    /// [`give_frames_as_they_are`](super::give_frames_as_they_are).
    pub(super) fn give_as_they_are(&self, order: u8, pfn: Pfn) -> Result<Mfn, Errno> {
        let first = self.claim(order, Place::Anywhere)?;
        self.enlist(first, 1 << order, pfn);
        Ok(first)
    }

    /// Takes 2^order contiguous frames and counts them; they carry no owner yet.
    fn claim(&self, order: u8, place: Place) -> Result<Mfn, Errno> {
        if order > MAX_ORDER {
            return Err(Errno::EINVAL);
        }
        let count = 1u64 << order;
        self.reserve(count)?;
        let Some(first) = take(order, place) else {
            self.account.lock().pages -= count;
            return Err(Errno::ENOMEM);
        };
        Ok(first)
    }

    /// Takes 2^order contiguous frames for which the domain will give others back: its own after
    /// [`finish_exchange`](Self::finish_exchange).
    ///
    /// # Errors
    /// `ENOMEM` when there are none.
    pub fn take_for_exchange(&self, order: u8, place: Place) -> Result<Mfn, Errno> {
        take(order, place).ok_or(Errno::ENOMEM)
    }

    /// The others are given back: the new frames are the domain's pages from `pfn` on.
    pub fn finish_exchange(&self, first: Mfn, order: u8, pfn: Pfn) {
        self.account.lock().pages += 1 << order;
        zero(first, 1 << order);
        self.enlist(first, 1 << order, pfn);
    }

    /// Nothing came of it.
    pub fn cancel_exchange(&self, first: Mfn, order: u8) {
        heap::give(first, order);
    }

    fn reserve(&self, count: u64) -> Result<(), Errno> {
        let mut account = self.account.lock();
        let pages = account.pages.checked_add(count).ok_or(Errno::ENOMEM)?;
        if pages > account.max {
            return Err(Errno::ENOMEM);
        }
        account.pages = pages;
        Ok(())
    }

    /// Makes frames the domain's pages from `pfn` on.
    fn enlist(&self, first: Mfn, count: u64, pfn: Pfn) {
        for index in 0..count {
            let mfn = Mfn::new(first.get() + index);
            m2p::set(mfn, Pfn::new(pfn.get().wrapping_add(index)));
        }
        let mut account = self.account.lock();
        // The highest first, so that the list ascends.
        for mfn in (0..count).rev().map(|index| Mfn::new(first.get() + index)) {
            if let (Some(page), Some(number)) = (heap::page(mfn), list_number(mfn)) {
                account.link(number, page);
                page.assign(self.owner, false);
            }
        }
    }

    /// Takes the domain's claim off a frame. The caller then puts the reference that it was.
    ///
    /// # Errors
    /// `EINVAL` when the frame is not the domain's, or one that the core lent it.
    pub fn strike(&self, mfn: Mfn) -> Result<&'static PageInfo, Errno> {
        let page = heap::page(mfn).ok_or(Errno::EINVAL)?;
        // Giving up and unlisting go together, so that two CPUs do not both unlist.
        let mut account = self.account.lock();
        if page.refs().lent {
            return Err(Errno::EINVAL);
        }
        page.give_up(self.owner).map_err(|_| Errno::EINVAL)?;
        account.unlink(page);
        drop(account);
        m2p::set(mfn, Pfn::INVALID);
        Ok(page)
    }

    /// The first of the frames that it has not given up.
    pub(super) fn first_page(&self) -> Option<Mfn> {
        let first = self.account.lock().first;
        (first != Links::NONE).then(|| Mfn::new(u64::from(first)))
    }

    /// A frame of its own is free again; answers with how many are left.
    pub(super) fn forget_page(&self) -> u64 {
        let mut account = self.account.lock();
        account.pages = account.pages.saturating_sub(1);
        account.pages
    }

    /// Whether to log one more refusal: the first few, then ever more rarely.
    pub(super) fn may_log(&self) -> bool {
        let count = self.refusals.fetch_add(1, Ordering::Relaxed);
        count < 16 || count.is_power_of_two()
    }
}

impl Account {
    fn link(&mut self, number: u32, page: &PageInfo) {
        let next = self.first;
        page.set_links(Links {
            prev: Links::NONE,
            next,
        });
        if let Some(after) = listed(next) {
            let links = after.links();
            after.set_links(Links {
                prev: number,
                ..links
            });
        }
        self.first = number;
    }

    fn unlink(&mut self, page: &PageInfo) {
        let Links { prev, next } = page.links();
        if let Some(after) = listed(next) {
            let links = after.links();
            after.set_links(Links { prev, ..links });
        }
        match listed(prev) {
            Some(before) => {
                let links = before.links();
                before.set_links(Links { next, ..links });
            }
            None => self.first = next,
        }
    }
}

fn take(order: u8, place: Place) -> Option<Mfn> {
    match place {
        Place::Anywhere => heap::take_for_domain(order, None),
        Place::Below(limit) => heap::take_for_domain(order, Some(limit)),
    }
}

fn zero(first: Mfn, count: u64) {
    for index in 0..count {
        direct_map::zero_frame(Mfn::new(first.get() + index));
    }
}

fn list_number(mfn: Mfn) -> Option<u32> {
    u32::try_from(mfn.get()).ok()
}

fn listed(number: u32) -> Option<&'static PageInfo> {
    (number != Links::NONE)
        .then(|| heap::page(Mfn::new(u64::from(number))))
        .flatten()
}
