//! What a device has done so far.

use core::cell::Cell;

/// Figures of one device since its backend was made, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Reads answered.
    pub reads: u64,
    /// Writes answered, barriers with data among them.
    pub writes: u64,
    /// Flushes answered, empty barriers among them.
    pub flushes: u64,
    /// Discards answered.
    pub discards: u64,
    /// Sectors of 512 bytes read.
    pub sectors_read: u64,
    /// Sectors written.
    pub sectors_written: u64,
    /// Requests answered with an error, for whatever reason.
    pub errors: u64,
    /// Requests that rode along with the one before them.
    pub merged: u64,
}

/// The same, counting.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) reads: Counter,
    pub(super) writes: Counter,
    pub(super) flushes: Counter,
    pub(super) discards: Counter,
    pub(super) sectors_read: Counter,
    pub(super) sectors_written: Counter,
    pub(super) errors: Counter,
    pub(super) merged: Counter,
}

/// One figure.
#[derive(Debug, Default)]
pub(super) struct Counter(Cell<u64>);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.set(self.0.get().wrapping_add(more));
    }
}

impl Counters {
    pub(super) fn snapshot(&self) -> Statistics {
        Statistics {
            reads: self.reads.0.get(),
            writes: self.writes.0.get(),
            flushes: self.flushes.0.get(),
            discards: self.discards.0.get(),
            sectors_read: self.sectors_read.0.get(),
            sectors_written: self.sectors_written.0.get(),
            errors: self.errors.0.get(),
            merged: self.merged.0.get(),
        }
    }
}
