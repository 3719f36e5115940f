//! A stream of bytes through a shared page: two free-running indices and a buffer.
//!
//! Console and xenstore each have one in either direction. This end trusts its
//! own index only; what the other end claims is cut to what is possible.

use core::sync::atomic::{Ordering, fence};

use crate::arch::bytes::SharedBytes;

/// Where a stream lies within its page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteRing {
    /// Offset of the buffer.
    pub(crate) buffer: usize,
    /// Bytes in the buffer: a power of two.
    pub(crate) size: usize,
    /// Offset of the producer's index.
    pub(crate) produced: usize,
    /// Offset of the consumer's index.
    pub(crate) consumed: usize,
}

impl ByteRing {
    /// Puts in what there is room for; answers how much. The caller notifies.
    pub(crate) fn put(self, page: &SharedBytes, bytes: &[u8]) -> usize {
        let index = page.u32(self.produced).load(Ordering::Relaxed);
        let consumed = page.u32(self.consumed).load(Ordering::Acquire);
        let used = (index.wrapping_sub(consumed) as usize).min(self.size);
        let count = bytes.len().min(self.size - used);
        let start = index as usize % self.size;
        let (first, second) = bytes[..count].split_at(count.min(self.size - start));
        page.write(self.buffer + start, first);
        page.write(self.buffer, second);
        publish(page, self.produced, index, count);
        count
    }

    /// Takes what is there, up to the length of `into`; answers how much.
    pub(crate) fn get(self, page: &SharedBytes, into: &mut [u8]) -> usize {
        let index = page.u32(self.consumed).load(Ordering::Relaxed);
        let count = into.len().min(self.waiting(page));
        let start = index as usize % self.size;
        let (first, second) = into[..count].split_at_mut(count.min(self.size - start));
        page.read(self.buffer + start, first);
        page.read(self.buffer, second);
        publish(page, self.consumed, index, count);
        count
    }

    /// How many bytes wait to be taken.
    pub(crate) fn waiting(self, page: &SharedBytes) -> usize {
        let index = page.u32(self.consumed).load(Ordering::Relaxed);
        let produced = page.u32(self.produced).load(Ordering::Acquire);
        (produced.wrapping_sub(index) as usize).min(self.size)
    }
}

/// Moves an index on. The full barrier orders it before the look at the other
/// end's index that decides whether to go on or to sleep.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a count is at most the ring's size"
)]
fn publish(page: &SharedBytes, offset: usize, index: u32, count: usize) {
    page.u32(offset)
        .store(index.wrapping_add(count as u32), Ordering::Release);
    fence(Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: ByteRing = ByteRing {
        buffer: 0,
        size: 1024,
        produced: 2048,
        consumed: 2052,
    };

    #[test]
    fn bytes_come_out_in_order_across_the_end_of_the_buffer() {
        let page = SharedBytes::fake();
        let mut sent = 0_u8;
        let mut expected = 0_u8;
        for _ in 0..100 {
            let bytes: Vec<u8> = (0..100)
                .map(|_| {
                    sent = sent.wrapping_add(1);
                    sent
                })
                .collect();
            assert_eq!(RING.put(&page, &bytes), 100);
            let mut taken = [0; 200];
            assert_eq!(RING.get(&page, &mut taken), 100);
            for byte in &taken[..100] {
                expected = expected.wrapping_add(1);
                assert_eq!(*byte, expected);
            }
        }
    }

    #[test]
    fn a_full_ring_takes_nothing_more() {
        let page = SharedBytes::fake();
        assert_eq!(RING.put(&page, &[1; 2000]), 1024);
        assert_eq!(RING.put(&page, &[2; 1]), 0);
    }

    #[test]
    fn an_index_that_cannot_be_is_cut_to_what_can() {
        let page = SharedBytes::fake();
        page.u32(2048).store(0x8000_0000, Ordering::Relaxed);
        assert_eq!(RING.waiting(&page), 1024);
        page.u32(2052).store(0x9000_0000, Ordering::Relaxed);
        assert_eq!(RING.put(&page, b"x"), 0);
    }
}
