//! Requests of several segments on a ring: each slot has a descriptor list of its own.
//!
//! ```text
//!   slot's 256 bytes: | 48 bytes for the driver: header, status | 13 descriptors |
//! ```
//!
//! The ring's descriptor of the same number leads to that list (an indirect descriptor, virtio 1.2,
//! 2.7.5.3), or to a page of 256 once a request needed more than 13. So the number that the device
//! gives back is the slot, and a request takes one place on the ring however long it is.

use alloc::vec::Vec;

use guest_abi::{Errno, PAGE_SIZE};

use super::dma::DmaPage;
use super::ring::{DESCRIPTOR_BYTES, Ring, Segment};

/// Bytes of a slot, and how many of them are the driver's own.
const SLOT_BYTES: usize = 256;
const SCRATCH_BYTES: usize = 48;
const SLOTS_IN_PAGE: usize = PAGE_SIZE / SLOT_BYTES;
/// Descriptors in a slot, and in the page that a long request takes.
const SHORT: usize = (SLOT_BYTES - SCRATCH_BYTES) / DESCRIPTOR_BYTES;
const LONG: usize = PAGE_SIZE / DESCRIPTOR_BYTES;

/// A ring and its slots.
#[derive(Debug)]
pub struct Chains<M> {
    ring: Ring<M>,
    areas: Vec<M>,
    long: Vec<Option<M>>,
    /// Slots that nobody uses; the last one back is the first to go.
    free: Vec<u16>,
    /// What each slot in use was taken for.
    used: Vec<bool>,
}

/// A slot that was taken and not yet offered: its list is being written.
#[derive(Debug)]
#[must_use = "a slot that is neither offered nor given back is lost"]
pub struct Chain {
    slot: u16,
    len: usize,
    room: usize,
}

impl Chain {
    /// The slot's number.
    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// How many more segments it can have.
    pub fn room(&self) -> usize {
        self.room - self.len
    }
}

impl<M: DmaPage> Chains<M> {
    /// A ring of `size` requests.
    ///
    /// # Errors
    /// As for [`Ring::new`].
    pub fn new(size: u16) -> Result<Self, Errno> {
        let ring = Ring::new(size)?;
        let pages = usize::from(size).div_ceil(SLOTS_IN_PAGE);
        let areas = (0..pages).map(|_| M::zeroed());
        Ok(Self {
            ring,
            areas: areas.collect::<Result<_, _>>()?,
            long: (0..size).map(|_| None).collect(),
            free: (0..size).rev().collect(),
            used: alloc::vec![false; size.into()],
        })
    }

    /// The ring below.
    pub fn ring(&self) -> &Ring<M> {
        &self.ring
    }

    /// How many requests are with the device.
    pub fn under_way(&self) -> usize {
        self.used.len() - self.free.len()
    }

    /// The driver's own bytes of a slot: page, offset, machine address.
    pub fn scratch(&self, slot: u16) -> Option<(&M, usize, u64)> {
        let slot = usize::from(slot);
        let page = self.areas.get(slot / SLOTS_IN_PAGE)?;
        let offset = slot % SLOTS_IN_PAGE * SLOT_BYTES;
        Some((page, offset, page.machine_address() + offset as u64))
    }

    /// Takes a slot for a request of about `wanted` segments. It may get room for fewer, but
    /// never for less than 13.
    pub fn begin(&mut self, wanted: usize) -> Option<Chain> {
        let slot = *self.free.last()?;
        let mut room = SHORT;
        if wanted > SHORT {
            let long = self.long.get_mut(usize::from(slot))?;
            if long.is_none() {
                // Without memory the request is done in small parts.
                *long = M::zeroed().ok();
            }
            if long.is_some() {
                room = LONG;
            }
        }
        self.free.pop();
        *self.used.get_mut(usize::from(slot))? = true;
        Some(Chain { slot, len: 0, room })
    }

    /// Adds a segment: those that the device reads come first. Beyond the room it is ignored.
    pub fn add(&self, chain: &mut Chain, segment: Segment) {
        if chain.len >= chain.room {
            return;
        }
        let next = u16::try_from(chain.len + 1).ok();
        if let Some((table, start, _)) = self.table(chain) {
            segment.store(table, start + chain.len * DESCRIPTOR_BYTES, next);
        }
        chain.len += 1;
    }

    /// Adds the last segment, and offers the whole to the device.
    pub fn finish(&mut self, mut chain: Chain, last: Segment) {
        chain.len = chain.len.min(chain.room - 1);
        if let Some((table, start, address)) = self.table(&chain) {
            last.store(table, start + chain.len * DESCRIPTOR_BYTES, None);
            self.ring.set_indirect(chain.slot, address, chain.len + 1);
            self.ring.offer(chain.slot);
        }
    }

    /// The list of a chain: page, offset, machine address.
    fn table(&self, chain: &Chain) -> Option<(&M, usize, u64)> {
        if chain.room == LONG {
            let page = self.long.get(usize::from(chain.slot))?.as_ref()?;
            return Some((page, 0, page.machine_address()));
        }
        let (page, offset, address) = self.scratch(chain.slot)?;
        let skip = SCRATCH_BYTES;
        Some((page, offset + skip, address + skip as u64))
    }

    /// Takes back a slot that the device is done with: still in use until given back. A device
    /// that names one it does not have is not believed.
    pub fn take(&mut self) -> Option<u16> {
        loop {
            let (slot, _) = self.ring.take()?;
            if self.used.get(usize::from(slot)) == Some(&true) {
                return Some(slot);
            }
        }
    }

    /// Gives a slot back.
    pub fn give(&mut self, slot: u16) {
        if let Some(used) = self.used.get_mut(usize::from(slot))
            && core::mem::take(used)
        {
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::dma::fake::FakePage;
    use crate::drivers::ring::device::FakeDevice;

    fn segment(number: usize) -> Segment {
        Segment {
            address: number as u64 * 4096,
            len: 512,
            device_writes: number > 0,
        }
    }

    #[test]
    fn short_and_long_requests_arrive_in_order() {
        let mut chains = Chains::<FakePage>::new(32).unwrap();
        let mut device = FakeDevice::on(chains.ring());
        for count in [1, 2, 13, 14, 256] {
            let mut chain = chains.begin(count).unwrap();
            assert!(chain.room() >= count);
            (0..count - 1).for_each(|number| chains.add(&mut chain, segment(number)));
            chains.finish(chain, segment(count - 1));
            let (slot, segments) = device.next().unwrap();
            assert_eq!(segments, (0..count).map(segment).collect::<Vec<_>>());
            device.done(slot, 0);
            assert_eq!(chains.take(), Some(slot));
            chains.give(slot);
        }
        assert_eq!(chains.under_way(), 0);
    }

    #[test]
    fn slots_run_out_and_come_back_once() {
        let mut chains = Chains::<FakePage>::new(2).unwrap();
        let mut device = FakeDevice::on(chains.ring());
        for _ in 0..2 {
            let chain = chains.begin(1).unwrap();
            chains.finish(chain, segment(0));
        }
        assert!(chains.begin(1).is_none());
        let (slot, _) = device.next().unwrap();
        // A device that gives back twice, or what it never had, changes nothing.
        device.done(slot, 0);
        device.done(slot, 0);
        device.done(77, 0);
        assert_eq!(chains.take(), Some(slot));
        chains.give(slot);
        chains.give(slot);
        assert_eq!(chains.take(), None);
        assert_eq!(chains.under_way(), 1);
        assert!(chains.begin(1).is_some() && chains.begin(1).is_none());
    }
}
