//! Which pages of the window are taken: a bitmap, searched in a circle.
//!
//! A place that came back is not given out again before the search has gone all
//! the way round, so stale translations need flushing only once a round.

/// A bitmap over `64 * WORDS` pages.
#[derive(Debug)]
pub(crate) struct Places<const WORDS: usize> {
    /// A bit for each page that is taken.
    taken: [u64; WORDS],
    /// Where the search goes on.
    next: usize,
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
        }
    }

    /// Takes `count` pages in a row.
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
        for page in found.start..found.start + count {
            self.taken[page / 64] |= 1 << (page % 64);
        }
        self.next = found.start + count;
        Some(found)
    }

    /// Gives pages back.
    pub(crate) fn give(&mut self, start: usize, count: usize) {
        for page in start..start + count {
            self.taken[page / 64] &= !(1 << (page % 64));
        }
    }

    fn find(&self, from: usize, count: usize) -> Option<usize> {
        let mut start = from;
        for page in from..WORDS * 64 {
            if self.taken[page / 64] & (1 << (page % 64)) != 0 {
                start = page + 1;
            } else if page + 1 - start == count {
                return Some(start);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_is_given_out_twice() {
        let mut places = Places::<2>::new();
        assert_eq!(
            places.take(100),
            Some(Found {
                start: 0,
                wrapped: false
            })
        );
        assert_eq!(
            places.take(28),
            Some(Found {
                start: 100,
                wrapped: false
            })
        );
        assert_eq!(places.take(1), None);
    }

    #[test]
    fn a_place_comes_again_only_after_a_whole_round() {
        let mut places = Places::<1>::new();
        for start in 0..64 {
            assert_eq!(
                places.take(1),
                Some(Found {
                    start,
                    wrapped: false
                })
            );
            places.give(start, 1);
        }
        assert_eq!(
            places.take(1),
            Some(Found {
                start: 0,
                wrapped: true
            })
        );
    }

    #[test]
    fn a_gap_that_is_too_small_is_skipped() {
        let mut places = Places::<1>::new();
        assert!(places.take(64).is_some());
        places.give(10, 3);
        places.give(20, 4);
        assert_eq!(
            places.take(4),
            Some(Found {
                start: 20,
                wrapped: true
            })
        );
        assert_eq!(
            places.take(3),
            Some(Found {
                start: 10,
                wrapped: true
            })
        );
    }

    #[test]
    fn more_than_there_is_is_refused() {
        assert_eq!(Places::<1>::new().take(65), None);
        assert_eq!(Places::<1>::new().take(0), None);
    }
}
