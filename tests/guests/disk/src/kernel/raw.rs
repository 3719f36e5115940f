//! A ring as a hostile frontend uses it: any bytes in any slot, any index.

use core::sync::atomic::Ordering;

use frontends::{
    blkfront::Blkfront,
    events,
    guest_abi::{
        ids::GrantRef,
        io::blkif::{self, BlkOperation},
        zerocopy::{FromBytes, Immutable, IntoBytes},
    },
    time::{self, Alarm},
    xenbus::Life,
};

use super::{Failed, Host, verify::VCPU};

/// Offsets in the ring page.
const REQ_PROD: usize = 0;
const RSP_PROD: usize = 8;
const SLOTS: usize = 64;
/// How long the backend may take to answer: in nanoseconds.
const PATIENCE: u64 = 300_000_000;

/// What the backend did about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// It disconnected us.
    Disconnected,
    /// It answered, the last time with this status.
    Answered(i16),
    /// It said nothing.
    Silent,
}

/// A connected disk whose ring is written by hand.
pub(super) struct Raw {
    pub(super) disk: Blkfront,
    produced: u32,
}

impl Raw {
    /// Takes over a fresh connection.
    pub(super) fn new(disk: Blkfront) -> Self {
        Self { disk, produced: 0 }
    }

    /// Puts any message into the next slot.
    pub(super) fn put<T: IntoBytes + Immutable>(&mut self, message: &T) {
        if let Some(ring) = self.disk.ring(0) {
            let slot = self.produced as usize % 32;
            let bytes = message.as_bytes();
            let bytes = bytes.get(..112).unwrap_or(bytes);
            ring.bytes().write(SLOTS + slot * 112, bytes);
        }
        self.produced = self.produced.wrapping_add(1);
    }

    /// Shows what was put.
    pub(super) fn show(&self) {
        self.show_index(self.produced);
    }

    /// Claims to have produced so many.
    pub(super) fn show_index(&self, index: u32) {
        if let Some(ring) = self.disk.ring(0) {
            ring.bytes().u32(REQ_PROD).store(index, Ordering::Release);
        }
        self.disk.notify(0);
    }

    /// How many answers there are.
    pub(super) fn answered(&self) -> u32 {
        let ring = self.disk.ring(0);
        ring.map_or(0, |ring| ring.bytes().u32(RSP_PROD).load(Ordering::Acquire))
    }

    /// The status of an answer.
    fn status(&self, index: u32) -> i16 {
        let mut bytes = [0; 16];
        if let Some(ring) = self.disk.ring(0) {
            let slot = index as usize % 32;
            ring.bytes().read(SLOTS + slot * 112, &mut bytes);
        }
        blkif::Response::read_from_bytes(&bytes).map_or(0, |response| response.status)
    }

    /// Waits until everything is answered, the backend has had enough, or for a while.
    pub(super) fn watch(&self, host: &mut Host, alarm: &Alarm) -> Result<Reaction, Failed> {
        let deadline = time::now(VCPU) + PATIENCE;
        loop {
            events::take(VCPU, |_| ());
            let answered = self.answered();
            if self.disk.life(&mut host.store)? != Life::Serving {
                return Ok(Reaction::Disconnected);
            }
            if answered == self.produced && answered > 0 {
                return Ok(Reaction::Answered(self.status(answered - 1)));
            }
            if time::now(VCPU) >= deadline {
                return Ok(Reaction::Silent);
            }
            alarm.wait_until(deadline);
        }
    }
}

/// A read of one whole page into a grant.
pub(super) fn read(id: u64, sector: u64, gref: GrantRef) -> blkif::Request {
    let mut request = blkif::Request {
        operation: BlkOperation::Read.number(),
        nr_segments: 1,
        id,
        sector_number: sector,
        ..blkif::Request::default()
    };
    request.seg[0] = blkif::Segment {
        gref,
        last_sect: 7,
        ..blkif::Segment::default()
    };
    request
}
