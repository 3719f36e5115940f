//! The last lines of the log, kept for `xl dmesg`.
//!
//! Bytes are numbered from the start of the log on; the ring holds the last [`SIZE`] of them. A
//! reader names the number it wants to go on from, and learns from which one it really got bytes.

/// How many bytes are kept.
pub const SIZE: usize = 128 << 10;

/// The ring.
#[derive(Debug)]
pub struct Ring {
    bytes: [u8; SIZE],
    /// The number of the next byte.
    next: u64,
    /// Bytes before this number were cleared away.
    cleared: u64,
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

impl Ring {
    /// Nothing said yet.
    pub const fn new() -> Self {
        Self {
            bytes: [0; SIZE],
            next: 0,
            cleared: 0,
        }
    }

    /// Adds bytes; the oldest make room.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(slot) = self.bytes.get_mut(place(self.next)) {
                *slot = *byte;
            }
            self.next += 1;
        }
    }

    /// Where a reader that has read up to `index` goes on: there, or at the first byte that is
    /// still kept. `None` starts at the first.
    pub fn start_of(&self, index: Option<u32>) -> u32 {
        low_half(index.map_or(self.first(), |index| self.number(index)))
    }

    /// Copies from byte `index` on (or the first there is, if later); says how many bytes.
    pub fn read_at(&self, index: u32, into: &mut [u8]) -> usize {
        let numbers = self.number(index)..self.next;
        let mut count = 0;
        for (slot, number) in into.iter_mut().zip(numbers) {
            *slot = self.bytes.get(place(number)).copied().unwrap_or(0);
            count += 1;
        }
        count
    }

    /// Forgets what was said so far.
    pub fn clear(&mut self) {
        self.cleared = self.next;
    }

    /// The number of the first byte that is still kept.
    fn first(&self) -> u64 {
        self.next.saturating_sub(SIZE as u64).max(self.cleared)
    }

    /// The byte that a reader calls `index`: readers know the lower half of its number only.
    fn number(&self, index: u32) -> u64 {
        let behind = low_half(self.next).wrapping_sub(index);
        self.next.saturating_sub(behind.into()).max(self.first())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "readers know no more")]
const fn low_half(number: u64) -> u32 {
    number as u32
}

fn place(number: u64) -> usize {
    usize::try_from(number % SIZE as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Ring, SIZE};

    #[test]
    fn a_reader_goes_on_where_it_stopped() {
        let mut ring = Ring::new();
        ring.write(b"one two");
        let mut four = [0; 4];
        assert_eq!(ring.read_at(ring.start_of(None), &mut four), 4);
        assert_eq!(&four, b"one ");
        assert_eq!(ring.read_at(4, &mut four), 3);
        assert_eq!(ring.read_at(7, &mut four), 0);
        assert_eq!(ring.start_of(Some(7)), 7);
    }

    #[test]
    fn the_oldest_bytes_make_room() {
        let mut ring = Ring::new();
        ring.write(&vec![b'a'; SIZE]);
        ring.write(b"bc");
        assert_eq!(ring.start_of(None), 2);
        assert_eq!(ring.start_of(Some(1)), 2);
        let mut all = vec![0; SIZE + 10];
        assert_eq!(ring.read_at(2, &mut all), SIZE);
        assert_eq!(&all[SIZE - 3..SIZE], b"abc");
    }

    #[test]
    fn what_was_cleared_is_not_read_again() {
        let mut ring = Ring::new();
        ring.write(b"old");
        ring.clear();
        ring.write(b"new");
        let mut text = [0; 8];
        assert_eq!(ring.read_at(0, &mut text), 3);
        assert_eq!(&text[..3], b"new");
    }

    #[test]
    fn numbers_may_wrap_for_readers() {
        let mut ring = Ring::new();
        ring.next = (1 << 32) - 2;
        ring.write(b"abcd");
        let mut text = [0; 8];
        assert_eq!(ring.read_at(u32::MAX - 1, &mut text), 4);
        assert_eq!(ring.read_at(1, &mut text), 1);
        assert_eq!(text[0], b'd');
    }
}
