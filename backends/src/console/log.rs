//! Everything a guest printed, or at least its beginning and its end.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Bytes kept from the very beginning: a boot's first lines say most.
const HEAD: usize = 16 * 1024;
/// Bytes kept from the end.
const TAIL: usize = 64 * 1024;

/// A bounded record of a byte stream.
///
/// ```text
///   0 ........ 16 KiB   (lost)   total - 64 KiB ........ total
///   └── head ──┘                 └───────── tail ─────────┘
/// ```
#[derive(Debug, Default)]
pub struct Log {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

/// How far a viewer has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

/// What a viewer gets next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Bytes of the stream.
    Bytes(&'a [u8]),
    /// So many bytes are gone.
    Lost(u64),
    /// Nothing yet.
    Nothing,
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what was printed.
    pub fn append(&mut self, bytes: &[u8]) {
        let to_head = bytes.len().min(HEAD - self.head.len());
        let (head, rest) = bytes.split_at(to_head);
        self.head.extend_from_slice(head);
        let rest = rest
            .get(rest.len().saturating_sub(TAIL)..)
            .unwrap_or_default();
        let excess = (self.tail.len() + rest.len()).saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.tail.extend(rest);
        self.total = self.total.saturating_add(bytes.len() as u64);
    }

    /// Bytes printed since the beginning.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Where the next byte will go: a cursor that has seen all there is.
    pub fn end(&self) -> Cursor {
        Cursor(self.total)
    }

    /// The next stretch behind `cursor`, which moves over it. A new cursor starts at the
    /// beginning, so this is the replay on attaching, too.
    pub fn read(&self, cursor: &mut Cursor) -> Chunk<'_> {
        let position = cursor.0;
        let tail_start = self.total - self.tail.len() as u64;
        if let Some(bytes) = after(&self.head, position).filter(|bytes| !bytes.is_empty()) {
            cursor.0 += bytes.len() as u64;
            return Chunk::Bytes(bytes);
        }
        if position < tail_start {
            cursor.0 = tail_start;
            return Chunk::Lost(tail_start - position);
        }
        let (first, second) = self.tail.as_slices();
        let offset = position - tail_start;
        let bytes = match offset.checked_sub(first.len() as u64) {
            None => after(first, offset),
            Some(offset) => after(second, offset),
        };
        match bytes {
            Some(bytes) if !bytes.is_empty() => {
                cursor.0 += bytes.len() as u64;
                Chunk::Bytes(bytes)
            }
            _ => Chunk::Nothing,
        }
    }

    /// All that is kept, with a note where something is missing.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut cursor = Cursor::default();
        loop {
            match self.read(&mut cursor) {
                Chunk::Bytes(bytes) => all.extend_from_slice(bytes),
                Chunk::Lost(count) => all.extend_from_slice(lost_note(count).as_bytes()),
                Chunk::Nothing => return all,
            }
        }
    }
}

/// The line that stands for lost bytes.
fn lost_note(count: u64) -> alloc::string::String {
    alloc::format!("\r\n[{count} bytes are no longer kept]\r\n")
}

impl Chunk<'_> {
    /// The chunk as a viewer shows it.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Lost(count) => lost_note(count).into_bytes(),
            Self::Nothing => Vec::new(),
        }
    }
}

fn after(bytes: &[u8], position: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(position).ok()?..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stream in which byte `n` tells its own position modulo 251.
    fn stream(from: usize, count: usize) -> Vec<u8> {
        (from..from + count)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect()
    }

    #[test]
    fn nothing_is_lost_while_it_fits() {
        let mut log = Log::new();
        for start in (0..HEAD + TAIL).step_by(1024) {
            log.append(&stream(start, 1024));
        }
        assert_eq!(log.to_vec(), stream(0, HEAD + TAIL));
    }

    #[test]
    fn the_beginning_and_the_end_stay() {
        let mut log = Log::new();
        let total = 300_000;
        log.append(&stream(0, total));
        let mut cursor = Cursor::default();
        assert_eq!(log.read(&mut cursor), Chunk::Bytes(&stream(0, HEAD)));
        assert_eq!(
            log.read(&mut cursor),
            Chunk::Lost((total - HEAD - TAIL) as u64)
        );
        let mut tail = Vec::new();
        while let Chunk::Bytes(bytes) = log.read(&mut cursor) {
            tail.extend_from_slice(bytes);
        }
        assert_eq!(tail, stream(total - TAIL, TAIL));
        assert_eq!(cursor, log.end());
    }

    #[test]
    fn a_slow_viewer_learns_what_it_missed() {
        let mut log = Log::new();
        log.append(&stream(0, HEAD));
        let mut cursor = log.end();
        log.append(&stream(HEAD, TAIL + 10));
        assert_eq!(log.read(&mut cursor), Chunk::Lost(10));
    }
}
