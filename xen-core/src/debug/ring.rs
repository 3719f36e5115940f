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

    /// The number of the first byte that can still be read.
    pub fn first(&self) -> u64 {
        self.next.saturating_sub(SIZE as u64).max(self.cleared)
    }

    /// Copies from byte `from` on (or the first there is, if later); says how many bytes, and the
    /// number of the byte behind them.
    pub fn read(&self, from: u64, into: &mut [u8]) -> (usize, u64) {
        let mut at = from.max(self.first());
        let mut count = 0;
        for slot in into.iter_mut() {
            if at >= self.next {
                break;
            }
            *slot = self.bytes.get(place(at)).copied().unwrap_or(0);
            at += 1;
            count += 1;
        }
        (count, at)
    }

    /// Forgets everything up to byte `upto`.
    pub fn clear(&mut self, upto: u64) {
        self.cleared = self.cleared.max(upto.min(self.next));
    }
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
        assert_eq!(ring.read(0, &mut four), (4, 4));
        assert_eq!(&four, b"one ");
        assert_eq!(ring.read(4, &mut four), (3, 7));
        assert_eq!(ring.read(7, &mut four), (0, 7));
    }

    #[test]
    fn the_oldest_bytes_make_room() {
        let mut ring = Ring::new();
        ring.write(&vec![b'a'; SIZE]);
        ring.write(b"bc");
        assert_eq!(ring.first(), 2);
        let mut all = vec![0; SIZE + 10];
        assert_eq!(ring.read(0, &mut all), (SIZE, SIZE as u64 + 2));
        assert_eq!(&all[SIZE - 3..SIZE], b"abc");
    }

    #[test]
    fn what_was_cleared_is_not_read_again() {
        let mut ring = Ring::new();
        ring.write(b"old");
        ring.clear(3);
        ring.write(b"new");
        let mut text = [0; 8];
        assert_eq!(ring.read(0, &mut text), (3, 6));
        assert_eq!(&text[..3], b"new");
    }
}
