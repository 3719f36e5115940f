//! Frames one after the other, in one list of pieces: nothing is allocated for each.

use alloc::vec::Vec;

use crate::host::Piece;

/// Frames, each in one or several pieces.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pieces: Vec<Piece>,
    /// Where each frame's pieces end.
    ends: Vec<usize>,
}

impl Frames {
    /// Adds a frame: its pieces are those that `fill` adds, if it says that these are one.
    pub(super) fn add(&mut self, fill: impl FnOnce(&mut Vec<Piece>) -> bool) -> bool {
        let added = fill(&mut self.pieces);
        if added {
            self.ends.push(self.pieces.len());
        } else {
            self.pieces.truncate(self.ends.last().copied().unwrap_or(0));
        }
        added
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The pieces of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[Piece]> {
        let starts = core::iter::once(&0).chain(&self.ends);
        let ranges = starts.zip(&self.ends).map(|(start, end)| *start..*end);
        ranges.filter_map(|range| self.pieces.get(range))
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.ends.clear();
    }
}
