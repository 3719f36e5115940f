//! Which pages of the window are taken: bitmaps, searched in a circle or from the low end.
//!
//! In a circle, a place that came back is not given out again before the search has gone all the
//! way round, so stale translations need flushing only once a round. From the low end, places are
//! used again at once, which keeps few page tables busy: for mappings whose translations are gone
//! when they come back.

/// A bitmap over `64 * WORDS` pages.
#[derive(Debug)]
pub(crate) struct Places<const WORDS: usize> {
    /// A bit for each page that is taken.
    taken: [u64; WORDS],
    /// Where the search in a circle goes on.
    next: usize,
    /// All pages below are taken.
    lowest: usize,
}

/// Pages in a row that were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the pages are taken until given back"]
pub(crate) struct Found {
    /// The first page.
    pub(crate) start: usize,
    /// The search started anew from the first page: old translations have to go.
    pub(crate) wrapped: bool,
}

impl<const WORDS: usize> Places<WORDS> {
    /// All pages free.
    pub(crate) const fn new() -> Self {
        Self {
            taken: [0; WORDS],
            next: 0,
            lowest: 0,
        }
    }

    /// Takes `count` pages in a row, those that came back longest ago.
    pub(crate) fn take(&mut self, count: usize) -> Option<Found> {
        if count == 0 {
            return None;
        }
        let ahead = self.find(self.next, count).map(|start| Found {
            start,
            wrapped: false,
        });
        let around = || {
            Some(Found {
                start: self.find(0, count)?,
                wrapped: true,
            })
        };
        let found = ahead.or_else(around)?;
        self.mark(found.start, count);
        self.next = found.start + count;
        Some(found)
    }

    /// Takes the first `count` pages in a row.
    pub(crate) fn take_lowest(&mut self, count: usize) -> Option<usize> {
        if count == 0 {
            return None;
        }
        let start = self.find(self.lowest, count)?;
        self.mark(start, count);
        if start == self.lowest {
            self.lowest = start + count;
        }
        Some(start)
    }

    /// Gives pages back.
    pub(crate) fn give(&mut self, start: usize, count: usize) {
        for (word, mask) in words(start, count) {
            self.taken[word] &= !mask;
        }
        self.lowest = self.lowest.min(start);
    }

    fn mark(&mut self, start: usize, count: usize) {
        for (word, mask) in words(start, count) {
            self.taken[word] |= mask;
        }
    }

    fn find(&self, from: usize, count: usize) -> Option<usize> {
        let (mut start, mut page) = (from, from);
        while page < WORDS * 64 {
            let rest = self.taken[page / 64] >> (page % 64);
            if rest & 1 == 0 {
                page += (rest.trailing_zeros() as usize).min(64 - page % 64);
                if page - start >= count {
                    return Some(start);
                }
            } else {
                page += rest.trailing_ones() as usize;
                start = page;
            }
        }
        None
    }
}

/// The words that hold the bits of some pages, and which bits of each.
fn words(start: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = start + count;
    let mut page = start;
    core::iter::from_fn(move || {
        let bits = (end - page).min(64 - page % 64);
        let mask = (u64::MAX >> (64 - bits.max(1))) << (page % 64);
        let word = page / 64;
        page += bits;
        (bits > 0).then_some((word, mask))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(start: usize, wrapped: bool) -> Option<Found> {
        Some(Found { start, wrapped })
    }

    #[test]
    fn no_page_is_given_out_twice() {
        let mut places = Places::<2>::new();
        assert_eq!(places.take(100), found(0, false));
        assert_eq!(places.take(28), found(100, false));
        assert_eq!(places.take(1), None);
        assert_eq!(places.take_lowest(1), None);
    }

    #[test]
    fn a_place_comes_again_only_after_a_whole_round() {
        let mut places = Places::<1>::new();
        for start in 0..64 {
            assert_eq!(places.take(1), found(start, false));
            places.give(start, 1);
        }
        assert_eq!(places.take(1), found(0, true));
    }

    #[test]
    fn from_the_low_end_a_place_comes_again_at_once() {
        let mut places = Places::<3>::new();
        assert_eq!(places.take_lowest(70), Some(0));
        assert_eq!(places.take_lowest(5), Some(70));
        places.give(0, 70);
        assert_eq!(places.take_lowest(1), Some(0));
        assert_eq!(places.take_lowest(70), Some(75));
        assert_eq!(places.take_lowest(69), Some(1));
        assert_eq!(places.take_lowest(1), Some(145));
    }

    #[test]
    fn a_gap_that_is_too_small_is_skipped() {
        let mut places = Places::<1>::new();
        assert!(places.take(64).is_some());
        places.give(10, 3);
        places.give(20, 4);
        assert_eq!(places.take(4), found(20, true));
        assert_eq!(places.take(3), found(10, true));
    }

    #[test]
    fn more_than_there_is_is_refused() {
        assert_eq!(Places::<1>::new().take(65), None);
        assert_eq!(Places::<1>::new().take(0), None);
        assert_eq!(Places::<1>::new().take_lowest(0), None);
    }
}
