//! Pages in a circle, given out in rows.
//!
//! A frame to be sent needs pages side by side. Rows are taken in turn; one that would go beyond the
//! last page begins at the first. Pages come back in whatever order, and are used again when all
//! before them have come back, too.

use alloc::{vec, vec::Vec};

/// Who has which page.
#[derive(Debug)]
pub(super) struct Circle {
    busy: Vec<bool>,
    /// Where the next row begins, unless it does not fit there.
    head: usize,
    /// The oldest page that is not to be given out.
    tail: usize,
    /// How many there are from there to the head: busy ones, and what lies between.
    used: usize,
}

impl Circle {
    pub(super) fn new(pages: usize) -> Self {
        Self {
            busy: vec![false; pages],
            head: 0,
            tail: 0,
            used: 0,
        }
    }

    /// Where a row of so many pages would begin, if there is one.
    pub(super) fn row(&self, count: usize) -> Option<usize> {
        let rest = self.busy.len() - self.head;
        let (start, skipped) = match count <= rest {
            true => (self.head, 0),
            false => (0, rest),
        };
        (self.used + skipped + count <= self.busy.len()).then_some(start)
    }

    /// Takes such a row.
    pub(super) fn take(&mut self, count: usize) -> Option<usize> {
        let start = self.row(count)?;
        let skipped = if start == self.head {
            0
        } else {
            self.busy.len() - self.head
        };
        self.busy.get_mut(start..start + count)?.fill(true);
        self.head = start + count;
        self.used += skipped + count;
        Some(start)
    }

    /// Gives a page back; whether it was busy.
    pub(super) fn give(&mut self, page: usize) -> bool {
        match self.busy.get_mut(page) {
            Some(busy) if *busy => *busy = false,
            _ => return false,
        }
        self.forget();
        true
    }

    /// Lets the oldest pages go as far as they have come back.
    fn forget(&mut self) {
        while self.used > 0 && self.busy.get(self.tail) == Some(&false) {
            self.used -= 1;
            self.tail += 1;
            if self.tail == self.busy.len() {
                self.tail = 0;
            }
        }
        if self.used == 0 {
            // All are free: rows need not go around.
            (self.head, self.tail) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_one_another_and_never_go_around() {
        let mut circle = Circle::new(8);
        assert_eq!(
            [circle.take(3), circle.take(3), circle.take(3)],
            [Some(0), Some(3), None]
        );
        (0..3).for_each(|page| assert!(circle.give(page)));
        assert_eq!((circle.take(3), circle.take(1)), (Some(0), None));
    }

    #[test]
    fn a_page_waits_for_those_before_it() {
        let mut circle = Circle::new(4);
        assert_eq!(circle.take(4), Some(0));
        assert!(circle.give(1) && circle.give(2));
        assert_eq!(circle.take(1), None);
        assert!(circle.give(0));
        assert_eq!((circle.take(3), circle.take(1)), (Some(0), None));
    }

    #[test]
    fn what_was_not_taken_does_not_come_back() {
        let mut circle = Circle::new(4);
        assert_eq!(circle.take(2), Some(0));
        assert!(circle.give(1) && !circle.give(1));
        assert!(!circle.give(2) && !circle.give(4));
    }

    #[test]
    fn no_page_is_ever_in_two_rows() {
        let mut circle = Circle::new(16);
        let mut taken: Vec<usize> = Vec::new();
        let mut seed = 1_u32;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let dice = seed as usize >> 8;
            if let Some(start) = circle.take(dice % 5 + 1) {
                for page in start..start + dice % 5 + 1 {
                    assert!(page < 16 && !taken.contains(&page));
                    taken.push(page);
                }
            } else {
                assert!(circle.give(taken.swap_remove(dice % taken.len())));
            }
        }
    }
}
