//! What a vif has carried.

use core::cell::Cell;

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets that got through.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that did not.
    pub dropped: u64,
}

/// What a vif has carried, as its guest sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// From the guest.
    pub transmitted: Traffic,
    /// To the guest.
    pub received: Traffic,
}

/// Counts. It outlives the connections.
#[derive(Debug, Default)]
pub(super) struct Counter(Cell<Traffic>);

impl Counter {
    pub(super) fn get(&self) -> Traffic {
        self.0.get()
    }

    pub(super) fn pass(&self, bytes: usize) {
        let mut traffic = self.0.get();
        traffic.packets += 1;
        traffic.bytes += bytes as u64;
        self.0.set(traffic);
    }

    pub(super) fn drop(&self) {
        let mut traffic = self.0.get();
        traffic.dropped += 1;
        self.0.set(traffic);
    }
}

/// Both directions.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) transmitted: Counter,
    pub(super) received: Counter,
}

impl Counters {
    pub(super) fn get(&self) -> Stats {
        Stats {
            transmitted: self.transmitted.get(),
            received: self.received.get(),
        }
    }
}
