//! Which chunks are free.
//!
//! The rule kept: a chunk that was given up is not given out again before the record that says so
//! is durable, nor while a request that began before may still touch it.
//!
//! Requests hold the *epoch* in which they began. When chunks are given up for good a new epoch
//! begins, and they wait until those before it have ended.

use alloc::collections::VecDeque;
use alloc::rc::{Rc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use backends::signal::Signal;

/// Chunks that are looked for side by side, so that neighbours in a volume are neighbours on
/// the disk, however many volumes grow at the same time.
const RUN: u32 = 16;

/// The time between two releases of chunks; held by each request that began in it.
#[derive(Clone, Debug)]
pub(super) struct Epoch(#[expect(dead_code, reason = "held to be dropped")] Rc<Begun>);

/// Tells, when the last request of an epoch has ended, whoever waits for chunks.
#[derive(Debug)]
struct Begun(Rc<Signal>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.notify();
    }
}

/// Chunks that wait for requests that may still touch them.
#[derive(Debug)]
struct Batch {
    chunks: Vec<u32>,
    epochs: Vec<Weak<Begun>>,
}

/// The chunks of a pool.
#[derive(Debug)]
pub(super) struct Space {
    /// A bit for each chunk; set when it is in use.
    used: Vec<u64>,
    data: Range<u32>,
    free: u32,
    /// Where to look next for a run.
    cursor: u32,
    /// There may be runs: none was looked for in vain since chunks were freed.
    runs: bool,
    epoch: Rc<Begun>,
    /// Epochs of which requests may be left.
    past: Vec<Weak<Begun>>,
    waiting: VecDeque<Batch>,
    /// An epoch has ended.
    ended: Rc<Signal>,
}

impl Space {
    /// All of `data` is free.
    pub(super) fn new(data: Range<u32>) -> Self {
        let ended = Rc::new(Signal::default());
        let words = usize::try_from(data.end.div_ceil(64)).unwrap_or(0);
        Self {
            used: vec![0; words],
            free: data.end.saturating_sub(data.start),
            cursor: data.start,
            runs: true,
            data,
            epoch: Rc::new(Begun(ended.clone())),
            past: Vec::new(),
            waiting: VecDeque::new(),
            ended,
        }
    }

    /// The epoch that a request beginning now has to hold.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.clone())
    }

    /// Chunks that hold data, or may.
    #[cfg(test)]
    pub(super) fn used(&self) -> u32 {
        (self.data.end - self.data.start).saturating_sub(self.free)
    }

    /// Chunks that are free.
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    /// Tells when chunks may have become free, if any wait for requests that may touch them.
    pub(super) fn waiting(&self) -> Option<Rc<Signal>> {
        (!self.waiting.is_empty()).then(|| self.ended.clone())
    }

    /// Takes a given chunk; `false` if it is none or taken.
    pub(super) fn claim(&mut self, chunk: u32) -> bool {
        if !self.is_free(chunk) {
            return false;
        }
        self.set(chunk, true);
        self.free -= 1;
        true
    }

    /// Takes a chunk: the one behind `neighbour`, if it is free.
    pub(super) fn take(&mut self, neighbour: Option<u32>) -> Option<u32> {
        self.collect();
        let next = neighbour.and_then(|chunk| chunk.checked_add(1));
        let chunk = match next.filter(|&chunk| self.is_free(chunk)) {
            Some(chunk) => chunk,
            None => self.find()?,
        };
        self.claim(chunk).then_some(chunk)
    }

    /// Gives chunks up whose release is durable.
    pub(super) fn release(&mut self, chunks: Vec<u32>) {
        if chunks.is_empty() {
            return;
        }
        let next = Rc::new(Begun(self.ended.clone()));
        let ended = core::mem::replace(&mut self.epoch, next);
        self.past.retain(|epoch| epoch.strong_count() > 0);
        self.past.push(Rc::downgrade(&ended));
        drop(ended);
        self.waiting.push_back(Batch {
            chunks,
            epochs: self.past.clone(),
        });
        self.collect();
    }

    /// Frees the chunks that nobody can touch any more.
    fn collect(&mut self) {
        let over = |batch: &Batch| batch.epochs.iter().all(|epoch| epoch.strong_count() == 0);
        while let Some(batch) = self.waiting.pop_front_if(|batch| over(batch)) {
            for chunk in batch.chunks {
                if self.data.contains(&chunk) && !self.is_free(chunk) {
                    self.set(chunk, false);
                    self.free += 1;
                    self.runs = true;
                }
            }
        }
    }

    /// The start of a run of free chunks; any free chunk, when there is no run.
    fn find(&mut self) -> Option<u32> {
        let run = if self.runs { RUN } else { 1 };
        let found = self.find_run(run);
        if found.is_none() && run == RUN {
            self.runs = false;
            return self.find_run(1);
        }
        found
    }

    /// The start of so many free chunks side by side, looked for from the cursor on.
    fn find_run(&mut self, run: u32) -> Option<u32> {
        for mut range in [self.cursor..self.data.end, self.data.start..self.cursor] {
            let mut length = 0;
            while let Some(chunk) = range.next() {
                if self.is_word_full(chunk) {
                    range.start = (chunk / 64 + 1).saturating_mul(64).min(range.end);
                    length = 0;
                } else if !self.is_free(chunk) {
                    length = 0;
                } else {
                    length += 1;
                    if length == run {
                        self.cursor = chunk + 1;
                        return Some(chunk + 1 - run);
                    }
                }
            }
        }
        None
    }

    /// Whether neither this chunk nor its neighbours in the word are free.
    fn is_word_full(&self, chunk: u32) -> bool {
        let word = usize::try_from(chunk / 64).unwrap_or(usize::MAX);
        self.used.get(word).is_none_or(|&word| word == u64::MAX)
    }

    fn is_free(&self, chunk: u32) -> bool {
        let word = usize::try_from(chunk / 64).unwrap_or(usize::MAX);
        let word = self.used.get(word).copied().unwrap_or(u64::MAX);
        self.data.contains(&chunk) && word & 1 << (chunk % 64) == 0
    }

    fn set(&mut self, chunk: u32, used: bool) {
        let word = usize::try_from(chunk / 64).unwrap_or(usize::MAX);
        let Some(word) = self.used.get_mut(word) else {
            return;
        };
        match used {
            true => *word |= 1 << (chunk % 64),
            false => *word &= !(1 << (chunk % 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_that_grow_together_keep_runs_of_their_own() {
        let mut space = Space::new(5..100);
        let (mut a, mut b) = (None, None);
        for turn in 0..RUN {
            a = space.take(a);
            b = space.take(b);
            assert_eq!((a, b), (Some(5 + turn), Some(5 + RUN + turn)));
        }
    }

    #[test]
    fn every_chunk_is_given_out_once() {
        let mut space = Space::new(5..100);
        assert!(space.claim(50));
        assert!(!space.claim(50) && !space.claim(4) && !space.claim(100));
        let mut taken: Vec<u32> = std::iter::from_fn(|| space.take(None)).collect();
        taken.push(50);
        taken.sort_unstable();
        assert_eq!(taken, (5..100).collect::<Vec<_>>());
        assert_eq!((space.free(), space.used()), (0, 95));
    }

    #[test]
    fn a_chunk_waits_for_the_requests_that_may_touch_it() {
        let mut space = Space::new(1..3);
        let (a, b) = (space.take(None).unwrap(), space.take(None).unwrap());
        let early = space.epoch();
        space.release(vec![a]);
        let late = space.epoch();
        space.release(vec![b]);
        assert_eq!(space.take(None), None);
        drop(late);
        assert_eq!(space.take(None), None);
        drop(early);
        assert_eq!(space.free(), 0);
        assert!(space.take(None).is_some() && space.take(None).is_some());
    }
}
