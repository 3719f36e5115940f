//! Frames on their way out.
//!
//! ```text
//!   transmit ─▶ ring ─▶ device ─▶ collect: pieces let go
//!       └─▶ waits, when the ring is full; dropped, when too many wait
//! ```
//!
//! Frames that are sent are collected with the next ones; only when many are under way, or some
//! wait, does the device interrupt for that.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use backends::host::Piece;
use guest_abi::Errno;

use super::config::HEADER_BYTES;
use crate::drivers::chains::Chains;
use crate::drivers::dma::DmaPage;
use crate::drivers::ring::{Ring, Segment};

/// Frames that wait for the ring: a few of the largest bursts of a guest's.
const WAITING: usize = 1024;
/// With so many under way, the device says when it is done with some.
const MANY: usize = 32;

/// The way out.
#[derive(Debug)]
pub(super) struct Transmit<M> {
    chains: Chains<M>,
    /// The header in front of every frame: zeros, which ask for nothing.
    header: M,
    /// The frame in each slot.
    frames: Vec<Vec<Piece>>,
    waiting: VecDeque<Vec<Piece>>,
    unannounced: bool,
    interrupts: bool,
}

impl<M: DmaPage> Transmit<M> {
    /// A way out with room for `size` frames on the ring.
    pub(super) fn new(size: u16) -> Result<Self, Errno> {
        let chains: Chains<M> = Chains::new(size)?;
        chains.ring().set_interrupts(false);
        Ok(Self {
            chains,
            header: M::zeroed()?,
            frames: (0..size).map(|_| Vec::new()).collect(),
            waiting: VecDeque::new(),
            unannounced: false,
            interrupts: false,
        })
    }

    /// The ring below.
    pub(super) fn ring(&self) -> &Ring<M> {
        self.chains.ring()
    }

    /// Sends a frame, in its turn; `false` when too many wait already.
    pub(super) fn send(&mut self, frame: &[Piece]) -> bool {
        if self.interrupts || self.chains.under_way() >= MANY {
            self.collect();
        }
        if self.waiting.len() >= WAITING {
            return false;
        }
        if !self.waiting.is_empty() || !self.offer(frame) {
            self.waiting.push_back(frame.to_vec());
        }
        true
    }

    /// Whether the device must be told of something; it counts as told from now on.
    pub(super) fn announce(&mut self) -> bool {
        core::mem::take(&mut self.unannounced) && self.chains.ring().wants_notification()
    }

    /// Lets go of what was sent, and sends what waited for that.
    pub(super) fn collect(&mut self) {
        loop {
            self.take_back();
            let wanted = !self.waiting.is_empty() || self.chains.under_way() >= MANY;
            if core::mem::replace(&mut self.interrupts, wanted) == wanted {
                return;
            }
            self.chains.ring().set_interrupts(wanted);
            if !wanted {
                return;
            }
            // What was sent before the device could know of the wish is looked for again.
        }
    }

    fn take_back(&mut self) {
        while let Some(slot) = self.chains.take() {
            self.chains.give(slot);
            if let Some(frame) = self.frames.get_mut(usize::from(slot)) {
                frame.clear();
            }
        }
        while let Some(frame) = self.waiting.pop_front() {
            if !self.offer(&frame) {
                self.waiting.push_front(frame);
                return;
            }
        }
    }

    /// Puts a frame on the ring; `false` when that is full.
    fn offer(&mut self, frame: &[Piece]) -> bool {
        let Some(mut chain) = self.chains.begin(frame.len() + 1) else {
            return false;
        };
        let slot = chain.slot();
        let mut last = Segment {
            address: self.header.machine_address(),
            len: u32::try_from(HEADER_BYTES).unwrap_or(0),
            device_writes: false,
        };
        for piece in frame {
            let address = M::machine_address_of(piece.address());
            let len = u32::try_from(piece.len).ok();
            let (Some(address), Some(len)) = (address, len.filter(|len| *len > 0)) else {
                continue;
            };
            self.chains.add(&mut chain, last);
            last = Segment {
                address,
                len,
                device_writes: false,
            };
        }
        self.chains.finish(chain, last);
        self.unannounced = true;
        if let Some(kept) = self.frames.get_mut(usize::from(slot)) {
            kept.extend_from_slice(frame);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::dma::fake::FakePage;
    use crate::drivers::ring::device::FakeDevice;
    use alloc::rc::Rc;
    use backends::host::IoMemory;
    use backends::host::fake::FakePage as Memory;

    fn frame(len: usize) -> Vec<Piece> {
        let memory: Rc<dyn IoMemory> = Rc::new(Memory::new());
        let piece = |offset, len| Piece {
            memory: memory.clone(),
            offset,
            len,
        };
        vec![piece(0, 14), piece(100, len - 14)]
    }

    #[test]
    fn a_frame_goes_behind_its_header_and_is_kept_until_sent() {
        let mut transmit = Transmit::<FakePage>::new(4).unwrap();
        let mut device = FakeDevice::on(transmit.ring());
        let frame = frame(64);
        let memory = Rc::downgrade(&frame[0].memory);
        assert!(transmit.send(&frame) && transmit.announce() && !transmit.announce());
        drop(frame);
        let (slot, segments) = device.next().unwrap();
        let lens: Vec<_> = segments.iter().map(|segment| segment.len).collect();
        assert_eq!(lens, [12, 14, 50]);
        transmit.collect();
        assert!(memory.upgrade().is_some());
        device.done(slot, 0);
        transmit.collect();
        assert!(memory.upgrade().is_none());
    }

    #[test]
    fn a_burst_waits_in_order_and_its_end_is_dropped() {
        let mut transmit = Transmit::<FakePage>::new(4).unwrap();
        let mut device = FakeDevice::on(transmit.ring());
        for number in 0..WAITING + 4 {
            assert!(transmit.send(&frame(64 + number)), "{number}");
        }
        assert!(!transmit.send(&frame(64)));
        for number in 0..WAITING + 4 {
            let (slot, segments) = device.next().unwrap();
            assert_eq!(segments[2].len as usize, 50 + number);
            device.done(slot, 0);
            transmit.collect();
        }
        assert!(device.next().is_none());
    }
}
