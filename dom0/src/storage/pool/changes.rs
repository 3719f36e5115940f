//! Changes of maps that are not durable yet.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// A chunk of a layer.
pub(super) type Place = (u32, u32);

/// Map entries that differ from what the journal says.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Changed since the last commit began.
    dirty: BTreeSet<Place>,
    /// Being written to the journal.
    committing: BTreeSet<Place>,
    /// The pool's chunks that these changes give up.
    freed: Vec<u32>,
}

impl Changes {
    /// An entry has changed; the data it points to has been written.
    pub(super) fn note(&mut self, place: Place) {
        self.dirty.insert(place);
    }

    /// An entry has changed and no longer points to `chunk`.
    pub(super) fn free(&mut self, place: Place, chunk: u32) {
        self.dirty.insert(place);
        self.freed.push(chunk);
    }

    /// Whether chunks would be freed by a commit.
    pub(super) fn frees(&self) -> bool {
        !self.freed.is_empty()
    }

    /// Whether an entry of these chunks of a layer is not durable yet.
    pub(super) fn touch(&self, layer: u32, chunks: core::ops::RangeInclusive<u32>) -> bool {
        let range = (layer, *chunks.start())..=(layer, *chunks.end());
        let mut sets = [&self.dirty, &self.committing].into_iter();
        sets.any(|set| set.range(range.clone()).next().is_some())
    }

    /// A layer is gone, and its changes do not matter any more.
    pub(super) fn forget(&mut self, layer: u32) {
        self.dirty.retain(|&(other, _)| other != layer);
    }

    /// Begins a commit: what is to be written, and what it frees.
    pub(super) fn begin(&mut self) -> (Vec<Place>, Vec<u32>) {
        self.committing.append(&mut self.dirty);
        let places = self.committing.iter().copied().collect();
        (places, core::mem::take(&mut self.freed))
    }

    /// The commit is durable.
    pub(super) fn done(&mut self) {
        self.committing.clear();
    }

    /// The commit has failed: all of it is still to be done.
    pub(super) fn failed(&mut self, freed: Vec<u32>) {
        self.dirty.append(&mut self.committing);
        self.freed.extend(freed);
    }
}
