//! Pages side by side that another domain uses, too: each is lent, or at home.
//!
//! Memory that others may write is only ever copied from and to. Here it is known page by page who
//! may write: a page that is at home, or lent for reading, is plain memory of ours, and can be
//! worked on in place.

use alloc::vec::Vec;
use core::ops::{Deref, Range};

use guest_abi::{
    DomId, Errno, PAGE_SIZE,
    grant_table::GrantEntryV1,
    ids::{DomIdArg, GrantRef},
};

use super::{
    bytes::{SharedBytes, pointer},
    memory::Page,
    window::{Access, Mapping},
};
use crate::grants::{GrantTable, Permit};

/// Where the pages appear in a row.
#[derive(Debug)]
enum Place {
    Mapped(Mapping),
    #[cfg(test)]
    Fake(SharedBytes),
}

impl Place {
    #[cfg(not(test))]
    fn new(pages: &[Page]) -> Result<Self, Errno> {
        let frames: Vec<_> = pages.iter().map(Page::frame).collect();
        let owner = DomId::new(DomIdArg::SELF.get());
        let mapping = Mapping::foreign(owner, &frames, Access::ReadWrite);
        Ok(Self::Mapped(mapping.map_err(|error| error.errno)?))
    }

    #[cfg(test)]
    fn new(pages: &[Page]) -> Result<Self, Errno> {
        let _ = (Access::ReadWrite, DomIdArg::SELF);
        Ok(Self::Fake(SharedBytes::fake_row(pages.len())))
    }
}

impl Deref for Place {
    type Target = SharedBytes;

    fn deref(&self) -> &SharedBytes {
        match self {
            Self::Mapped(mapping) => mapping,
            #[cfg(test)]
            Self::Fake(bytes) => bytes,
        }
    }
}

/// One page's grant.
#[derive(Clone, Copy, Debug)]
struct Loan {
    /// Its entry names the page for good; only what it permits changes.
    reference: GrantRef,
    /// The other domain has no access now.
    at_home: bool,
}

/// Pages side by side, lent to another domain one by one.
#[derive(Debug)]
pub(crate) struct LentPages {
    /// Always there until dropped.
    place: Option<Place>,
    table: GrantTable,
    permit: Permit,
    pages: Vec<Page>,
    loans: Vec<Loan>,
}

impl LentPages {
    /// Lends so many pages of zeros.
    ///
    /// # Errors
    ///
    /// When there is no page, reference or place for them.
    pub(crate) fn new(
        table: &GrantTable,
        to: DomId,
        count: usize,
        permit: Permit,
    ) -> Result<Self, Errno> {
        let pages: Result<Vec<_>, _> = (0..count).map(|_| Page::zeroed()).collect();
        let mut lent = Self {
            place: None,
            table: table.clone(),
            permit,
            pages: pages?,
            loans: Vec::with_capacity(count),
        };
        lent.place = Some(Place::new(&lent.pages)?);
        for page in &lent.pages {
            let entry = permit.entry(to, page.frame())?;
            let reference = table.reserve()?;
            table.write(reference, GrantEntryV1 { flags: 0, ..entry });
            let at_home = true;
            lent.loans.push(Loan { reference, at_home });
        }
        lent.lend(0..count);
        Ok(lent)
    }

    /// How many pages there are.
    pub(crate) fn count(&self) -> usize {
        self.loans.len()
    }

    /// What the other domain finds a page by.
    pub(crate) fn reference(&self, page: usize) -> GrantRef {
        let loan = self.loans.get(page);
        loan.map(|loan| loan.reference).unwrap_or_default()
    }

    /// Lends pages again that are at home.
    pub(crate) fn lend(&mut self, pages: Range<usize>) {
        let table = self.table.open();
        for loan in self.loans.get_mut(pages).unwrap_or_default() {
            if loan.at_home {
                loan.at_home = false;
                table.permit(loan.reference, self.permit);
            }
        }
    }

    /// Takes pages back; whether all of them are at home now. The other domain still has those that
    /// it is using.
    pub(crate) fn recall(&mut self, pages: Range<usize>) -> bool {
        let table = self.table.open();
        let loans = self.loans.get_mut(pages).unwrap_or_default().iter_mut();
        loans.fold(true, |all, loan| {
            loan.at_home = loan.at_home || table.clear(loan.reference);
            all & loan.at_home
        })
    }

    /// Bytes of the row, if nobody else can write any of them now.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Option<&[u8]> {
        let base = self.ours(&range)?;
        // SAFETY: mapped until this is dropped, and in range. Nobody else writes there: who wants to
        // lend these pages needs this exclusively, and all other access in here is by copies, which
        // need it exclusively for writing.
        Some(unsafe { core::slice::from_raw_parts(base, range.len()) })
    }

    /// The same, for writing.
    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        let base = self.ours(&range)?;
        // SAFETY: as above, and this is borrowed exclusively.
        Some(unsafe { core::slice::from_raw_parts_mut(base, range.len()) })
    }

    /// Where a range begins that nobody else can write.
    fn ours(&self, range: &Range<usize>) -> Option<*mut u8> {
        let place = self.place.as_ref()?;
        if range.start > range.end || range.end > place.len() {
            return None;
        }
        let pages = range.start / PAGE_SIZE..range.end.div_ceil(PAGE_SIZE);
        let loans = self.loans.get(pages)?;
        let ours = self.permit == Permit::Read || loans.iter().all(|loan| loan.at_home);
        let first = place.address() + range.start as u64;
        ours.then(|| pointer(first))
    }

    /// Copies bytes of the row to the end of a list, whoever may write them.
    pub(crate) fn append_to(&self, range: Range<usize>, to: &mut Vec<u8>) {
        if let Some(place) = &self.place {
            place.append_to(range.start, range.len(), to);
        }
    }

    /// Copies bytes to another place in the row, which does not overlap with theirs.
    pub(crate) fn copy_within(&mut self, from: Range<usize>, to: usize) {
        if let Some(place) = &self.place {
            place.copy_within(from.start, from.len(), to);
        }
    }

    /// The row as the other domain sees it.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &SharedBytes {
        self.place.as_ref().unwrap()
    }
}

impl Drop for LentPages {
    /// The row goes first; a page that is in use stays with the table.
    fn drop(&mut self) {
        self.place = None;
        for (loan, page) in self.loans.iter().zip(self.pages.drain(..)) {
            self.table.give_up(loan.reference, page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(permit: Permit) -> (GrantTable, LentPages) {
        let table = GrantTable::fake();
        let lent = LentPages::new(&table, DomId::new(0), 4, permit).unwrap();
        (table, lent)
    }

    #[test]
    fn pages_that_others_may_write_are_no_plain_memory() {
        let (_, mut lent) = lent(Permit::ReadWrite);
        assert!(lent.bytes(0..1).is_none() && lent.bytes_mut(5000..5001).is_none());
        assert!(lent.recall(1..3));
        assert!(lent.bytes(4096..3 * 4096).is_some());
        assert!(lent.bytes(4095..4097).is_none() && lent.bytes(4096..3 * 4096 + 1).is_none());
        lent.lend(2..3);
        assert!(lent.bytes(4096..3 * 4096).is_none() && lent.bytes(4096..8192).is_some());
    }

    #[test]
    fn pages_lent_for_reading_stay_plain_memory() {
        let (_, mut lent) = lent(Permit::Read);
        lent.bytes_mut(4090..4100).unwrap().fill(7);
        assert_eq!(lent.bytes(4090..4100), Some(&[7; 10][..]));
        assert!(lent.bytes(0..4 * 4096 + 1).is_none());
    }

    #[test]
    fn a_page_in_use_cannot_be_recalled_and_lingers_in_the_end() {
        let (table, mut lent) = lent(Permit::ReadWrite);
        let in_use = GrantEntryV1 {
            flags: 1 | 16,
            ..GrantEntryV1::default()
        };
        table.write(lent.reference(1), in_use);
        assert!(!lent.recall(0..4) && lent.bytes(4096..4097).is_none());
        assert!(lent.bytes(0..4096).is_some());
        drop(lent);
        assert_eq!(table.lingering(), 1);
    }
}
