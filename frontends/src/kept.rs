//! Events that were taken by somebody who waited for another one.
//!
//! A driver that waits for its own port must not swallow the events of others: it puts them here,
//! and the next [`take`](crate::events::take) of the kernel's loop reports them.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Words in the arrays of the two-level ABI.
pub(crate) const WORDS: usize = 64;

/// The events kept for one virtual CPU.
pub(crate) struct Kept {
    some: AtomicBool,
    words: [AtomicU64; WORDS],
}

impl Kept {
    /// None.
    pub(crate) const fn new() -> Self {
        Self {
            some: AtomicBool::new(false),
            words: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    /// Keeps the event of a port.
    pub(crate) fn keep(&self, word: usize, bit: u64) {
        if let Some(word) = self.words.get(word) {
            word.fetch_or(bit, Ordering::AcqRel);
            self.some.store(true, Ordering::Release);
        }
    }

    /// Takes the event of one port; whether there was one. The others stay.
    pub(crate) fn take(&self, word: usize, bit: u64) -> bool {
        let word = self.words.get(word).filter(|_| self.any());
        word.is_some_and(|word| word.fetch_and(!bit, Ordering::AcqRel) & bit != 0)
    }

    /// Takes what is kept: each word that is not empty.
    pub(crate) fn drain(&self, mut found: impl FnMut(usize, u64)) {
        if !self.some.swap(false, Ordering::AcqRel) {
            return;
        }
        for (index, word) in self.words.iter().enumerate() {
            let bits = word.swap(0, Ordering::AcqRel);
            if bits != 0 {
                found(index, bits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_reported_once() {
        let kept = Kept::new();
        kept.keep(3, 1 << 5);
        kept.keep(3, 1 << 6);
        assert!(kept.take(3, 1 << 6));
        assert!(!kept.take(3, 1 << 6));
        assert!(kept.any());
        let mut seen = Vec::new();
        kept.drain(|word, bits| seen.push((word, bits)));
        kept.drain(|word, bits| seen.push((word, bits)));
        assert_eq!(seen, [(3, 1 << 5)]);
        assert!(!kept.any());
    }
}
