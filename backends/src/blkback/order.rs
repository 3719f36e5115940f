//! What barriers wait for, and when a flush can be spared.
//!
//! A flush covers all that was answered before it came, so it goes to the disk at once, beside
//! others. A barrier also covers what was *taken* before it, and nothing taken after it may be
//! done before it: taking stops, the disk finishes, then comes the barrier alone, then taking
//! goes on.

use super::plan::{Member, Transfer};

/// A barrier that was taken.
#[derive(Debug)]
pub(super) enum Barrier {
    /// Nothing but order and durability.
    Empty(Member),
    /// A durable write.
    Write(Transfer),
}

/// A count of changes to the disk: what a flush covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Changes(u64);

/// The order of things on one device.
#[derive(Debug)]
pub(super) struct Order {
    waiting: Option<Barrier>,
    running: bool,
    /// Changes that were answered.
    made: Changes,
    /// How many of them are durable.
    durable: Changes,
}

impl Order {
    /// The state at the beginning: whoever wrote before us may not have flushed.
    pub(super) fn new() -> Self {
        Self {
            waiting: None,
            running: false,
            made: Changes(1),
            durable: Changes(0),
        }
    }

    /// Whether requests may be taken from the rings.
    pub(super) fn may_take(&self) -> bool {
        self.waiting.is_none() && !self.running
    }

    /// A barrier was taken.
    pub(super) fn hold(&mut self, barrier: Barrier) {
        self.waiting = Some(barrier);
    }

    /// Whether a barrier waits for the disk to be idle.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The barrier that waits; from now on it runs. Asked when the disk is idle.
    pub(super) fn release(&mut self) -> Option<Barrier> {
        let barrier = self.waiting.take();
        self.running |= barrier.is_some();
        barrier
    }

    /// The barrier is done.
    pub(super) fn resume(&mut self) {
        self.running = false;
    }

    /// The disk's content changed, or may have.
    pub(super) fn changed(&mut self) {
        self.made.0 += 1;
    }

    /// The changes that a flush asked for now covers.
    pub(super) fn made(&self) -> Changes {
        self.made
    }

    /// A flush is done that was asked for after these changes.
    pub(super) fn flushed(&mut self, covered: Changes) {
        self.durable = self.durable.max(covered);
    }

    /// Whether anything is left to flush.
    pub(super) fn needs_flush(&self) -> bool {
        self.durable < self.made
    }
}
