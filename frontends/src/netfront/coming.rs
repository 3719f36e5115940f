//! Where the pieces of a frame lie that comes in several pages.
//!
//! ```text
//! | first piece | about it |  second  |  third |      as it comes
//!               | first    |  second  |  third |      in a row: the slot between was free for it
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use guest_abi::{PAGE_SIZE, io::netif::MAX_TX_SIZE};

use crate::arch::lent::LentPages;

/// From how many bytes on calling pages back is cheaper than copying.
const LONG: usize = 1024;

/// The frame that is coming, or has come last.
#[derive(Debug, Default)]
pub(super) struct Coming {
    /// Its pieces, as long as they lie in a row.
    row: Range<usize>,
    /// All of them, if they do not.
    copy: Option<Vec<u8>>,
    /// Memory for the next one that does not.
    spare: Vec<u8>,
}

impl Coming {
    /// Another frame begins.
    pub(super) fn begin(&mut self) {
        self.row = 0..0;
        if let Some(copy) = self.copy.take() {
            self.spare = copy;
        }
    }

    /// Adds a piece; whether the frame is not too long then.
    pub(super) fn add(&mut self, piece: Range<usize>, pages: &mut LentPages) -> bool {
        let have = self.copy.as_ref().map_or(self.row.len(), Vec::len);
        if have + piece.len() > MAX_TX_SIZE {
            return false;
        }
        if let Some(copy) = &mut self.copy {
            pages.append_to(piece, copy);
        } else if self.row.is_empty() {
            self.row = piece;
        } else if self.row.end == piece.start || self.close_up(piece.start, pages) {
            self.row.end = piece.end;
        } else {
            pages.append_to(piece, self.put_together(pages));
        }
        true
    }

    /// Moves a first piece to where the second begins, if just one page lies between, which then is
    /// nobody's.
    fn close_up(&mut self, start: usize, pages: &mut LentPages) -> bool {
        let close = self.row.len() <= PAGE_SIZE && self.row.end + PAGE_SIZE == start;
        if close {
            let first = start - self.row.len();
            pages.copy_within(self.row.clone(), first);
            self.row = first..start;
        }
        close
    }

    /// Copies what has come so far.
    fn put_together(&mut self, pages: &LentPages) -> &mut Vec<u8> {
        let mut copy = core::mem::take(&mut self.spare);
        copy.clear();
        pages.append_to(self.row.clone(), &mut copy);
        self.copy.insert(copy)
    }

    /// The frame has come in full: makes it ours; whether there is anything.
    pub(super) fn end(&mut self, pages: &mut LentPages) -> bool {
        if self.copy.is_none() && !self.recall(pages) {
            self.put_together(pages);
        }
        self.copy.as_ref().is_none_or(|copy| !copy.is_empty())
    }

    /// Calls its pages back, if that is worth it.
    fn recall(&self, pages: &mut LentPages) -> bool {
        let numbers = self.row.start / PAGE_SIZE..self.row.end.div_ceil(PAGE_SIZE);
        self.row.len() >= LONG && pages.recall(numbers)
    }

    /// The frame, until its pages go to the backend again.
    pub(super) fn bytes<'a>(&'a self, pages: &'a LentPages) -> &'a [u8] {
        match &self.copy {
            Some(copy) => copy,
            None => pages.bytes(self.row.clone()).unwrap_or_default(),
        }
    }
}
