//! A split virtqueue's two rings. Virtio 1.2, 2.7.
//!
//! ```text
//!   page 0   descriptor table: 16 bytes each, at most 256
//!   page 1   available ring at 0: heads we offer · used ring at 1024: heads the device is done with
//! ```
//!
//! The `virtio-drivers` crate finds and starts the devices, and its queue runs our console. Disks and
//! cards have this one, for what the crate's asks of a buffer and a paravirtualised dom0 cannot give:
//!
//! - It takes buffers as Rust slices. Ours are pages that a guest may write at any moment: a
//!   reference to them is unsound however long it lives. Here a buffer is an address and a length.
//! - It takes them where they are mapped and asks for their addresses one by one. Ours are known by
//!   machine address, and one need not be mapped anywhere to be lent.
//! - It takes the lists of long requests from the heap, as one piece of memory. dom0's heap lies side
//!   by side only in virtual memory: a list that crosses a page would be two pieces to the device. In
//!   [`chains`](super::chains) each list keeps to a page, and is laid out once instead of at each
//!   request.

use core::sync::atomic::{Ordering, fence};

use guest_abi::Errno;

use super::dma::DmaPage;

/// The most descriptors that a ring of two pages has.
pub const MAX_SIZE: u16 = 256;

/// Bytes of a descriptor: address, length, flags, next.
pub const DESCRIPTOR_BYTES: usize = 16;
/// Flags of a descriptor.
const NEXT: u64 = 1;
const DEVICE_WRITES: u64 = 2;
const INDIRECT: u64 = 4;

/// In the available ring: flags, index, then heads.
const AVAILABLE_FLAGS: usize = 0;
const AVAILABLE_INDEX: usize = 2;
const AVAILABLE_HEADS: usize = 4;
/// The used ring: flags, index, then pairs of head and bytes written.
const USED: usize = 1024;
const USED_FLAGS: usize = USED;
const USED_INDEX: usize = USED + 2;
const USED_PAIRS: usize = USED + 4;
/// In either ring's flags: do not notify, do not interrupt.
const QUIET: u16 = 1;

/// Memory for the device to read or to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its machine address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// Whether the device writes it.
    pub device_writes: bool,
}

impl Segment {
    /// Writes it as a descriptor; `next` leads to another one of the same table.
    pub fn store<M: DmaPage>(self, table: &M, offset: usize, next: Option<u16>) {
        let mut flags = if self.device_writes { DEVICE_WRITES } else { 0 };
        if next.is_some() {
            flags |= NEXT;
        }
        let next = u64::from(next.unwrap_or(0));
        table.store_u64(offset, self.address);
        table.store_u64(offset + 8, u64::from(self.len) | flags << 32 | next << 48);
    }
}

/// Where the device finds the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The descriptor table.
    pub descriptors: u64,
    /// The available ring.
    pub available: u64,
    /// The used ring.
    pub used: u64,
}

/// A virtqueue's rings.
#[derive(Debug)]
pub struct Ring<M> {
    size: u16,
    descriptors: M,
    rings: M,
    /// Heads offered so far, and taken back so far: the device cannot change these.
    offered: u16,
    taken: u16,
}

impl<M: DmaPage> Ring<M> {
    /// An empty ring of `size` descriptors: a power of two, at most [`MAX_SIZE`].
    ///
    /// # Errors
    /// `EINVAL` for another size; `ENOMEM`.
    pub fn new(size: u16) -> Result<Self, Errno> {
        if !size.is_power_of_two() || size > MAX_SIZE {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            size,
            descriptors: M::zeroed()?,
            rings: M::zeroed()?,
            offered: 0,
            taken: 0,
        })
    }

    /// How many descriptors there are.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where the device finds the rings.
    pub fn addresses(&self) -> Addresses {
        let rings = self.rings.machine_address();
        Addresses {
            descriptors: self.descriptors.machine_address(),
            available: rings,
            used: rings + USED as u64,
        }
    }

    fn offset(&self, index: u16) -> usize {
        usize::from(index & (self.size - 1)) * DESCRIPTOR_BYTES
    }

    /// Makes descriptor `index` a buffer of its own.
    pub fn set_buffer(&self, index: u16, segment: Segment) {
        segment.store(&self.descriptors, self.offset(index), None);
    }

    /// Makes descriptor `index` stand for a table of `count` descriptors elsewhere.
    pub fn set_indirect(&self, index: u16, table: u64, count: usize) {
        let offset = self.offset(index);
        let bytes = (count * DESCRIPTOR_BYTES) as u64;
        self.descriptors.store_u64(offset, table);
        self.descriptors
            .store_u64(offset + 8, bytes | INDIRECT << 32);
    }

    /// Offers a descriptor and what hangs on it to the device.
    pub fn offer(&mut self, head: u16) {
        let at = AVAILABLE_HEADS + 2 * usize::from(self.offered & (self.size - 1));
        self.rings.store_u16(at, head);
        self.offered = self.offered.wrapping_add(1);
        // Stored after the head, and the descriptors: the device may look at any time.
        self.rings.store_u16(AVAILABLE_INDEX, self.offered);
    }

    /// Whether the device wants to be told of what was offered.
    pub fn wants_notification(&self) -> bool {
        // Our index must be visible before the device's wish is read: it writes the wish, then
        // looks at the index once more.
        fence(Ordering::SeqCst);
        self.rings.load_u16(USED_FLAGS) & QUIET == 0
    }

    /// Tells the device whether to interrupt when it is done with something.
    pub fn set_interrupts(&self, wanted: bool) {
        let flags = if wanted { 0 } else { QUIET };
        self.rings.store_u16(AVAILABLE_FLAGS, flags);
        fence(Ordering::SeqCst);
    }

    /// Takes back what the device is done with: the head, and how many bytes it wrote.
    ///
    /// Both are the device's word: the caller looks up what it really lent.
    pub fn take(&mut self) -> Option<(u16, u32)> {
        if self.rings.load_u16(USED_INDEX) == self.taken {
            return None;
        }
        let at = USED_PAIRS + 8 * usize::from(self.taken & (self.size - 1));
        self.taken = self.taken.wrapping_add(1);
        let head = u16::try_from(self.rings.load_u32(at)).unwrap_or(u16::MAX);
        Some((head, self.rings.load_u32(at + 4)))
    }
}

/// The device's side of a ring, for tests.
#[cfg(test)]
pub(crate) mod device {
    use super::*;
    use crate::drivers::dma::fake::page_at;

    /// A device that works on a ring.
    pub(crate) struct FakeDevice {
        addresses: Addresses,
        size: u16,
        seen: u16,
        used: u16,
    }

    impl FakeDevice {
        pub(crate) fn on<M: DmaPage>(ring: &Ring<M>) -> Self {
            Self {
                addresses: ring.addresses(),
                size: ring.size(),
                seen: 0,
                used: 0,
            }
        }

        /// The next head that was offered, and its segments.
        pub(crate) fn next(&mut self) -> Option<(u16, Vec<Segment>)> {
            let available = page_at(self.addresses.available);
            if available.load_u16(AVAILABLE_INDEX) == self.seen {
                return None;
            }
            let at = AVAILABLE_HEADS + 2 * usize::from(self.seen % self.size);
            self.seen = self.seen.wrapping_add(1);
            let head = available.load_u16(at);
            let mut segments = Vec::new();
            let table = self.addresses.descriptors;
            let (address, word) = descriptor(table, head);
            if word >> 32 & INDIRECT != 0 {
                let mut index = 0;
                loop {
                    let (at, word) = descriptor(address, index);
                    segments.push(segment(at, word));
                    if word >> 32 & NEXT == 0 {
                        break;
                    }
                    index = u16::try_from(word >> 48).unwrap();
                }
            } else {
                segments.push(segment(address, word));
            }
            Some((head, segments))
        }

        /// Done with a head.
        pub(crate) fn done(&mut self, head: u16, written: u32) {
            let rings = page_at(self.addresses.used);
            let at = USED_PAIRS + 8 * usize::from(self.used % self.size);
            rings.put(at, &u32::from(head).to_le_bytes());
            rings.put(at + 4, &written.to_le_bytes());
            self.used = self.used.wrapping_add(1);
            rings.store_u16(USED_INDEX, self.used);
        }
    }

    fn descriptor(table: u64, index: u16) -> (u64, u64) {
        let at = table + u64::from(index) * DESCRIPTOR_BYTES as u64;
        let page = page_at(at);
        let offset = usize::try_from(at % 4096).unwrap();
        let word = |at| u64::from_le_bytes(page.bytes(at));
        (word(offset), word(offset + 8))
    }

    fn segment(address: u64, word: u64) -> Segment {
        Segment {
            address,
            len: u32::try_from(word & 0xffff_ffff).unwrap(),
            device_writes: word >> 32 & DEVICE_WRITES != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::device::FakeDevice;
    use super::*;
    use crate::drivers::dma::fake::FakePage;

    #[test]
    fn what_is_offered_arrives_and_comes_back_across_the_wrap() {
        let mut ring = Ring::<FakePage>::new(4).unwrap();
        let mut device = FakeDevice::on(&ring);
        for round in 0..70_000_u32 {
            let head = u16::try_from(round % 4).unwrap();
            let segment = Segment {
                address: u64::from(round),
                len: 7,
                device_writes: true,
            };
            ring.set_buffer(head, segment);
            ring.offer(head);
            assert_eq!(ring.take(), None);
            assert_eq!(device.next(), Some((head, vec![segment])));
            device.done(head, round);
            assert_eq!(ring.take(), Some((head, round)));
        }
    }

    #[test]
    fn a_ring_has_a_power_of_two_of_descriptors() {
        for size in [0, 3, 512] {
            assert!(Ring::<FakePage>::new(size).is_err(), "{size}");
        }
    }
}
