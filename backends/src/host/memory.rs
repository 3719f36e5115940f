//! Memory that others write too.

use alloc::rc::Rc;
use core::fmt;
use core::sync::atomic::{Ordering, fence};

/// Memory that another domain may write at any moment.
///
/// Nobody ever holds a reference into it: bytes are copied in and out, and an index is read once
/// into a local before it is believed. Offsets are the backend's own constants or are reduced
/// modulo a ring's size, so an implementor may treat one outside the memory as a bug of ours: it
/// reads zeros and ignores writes.
pub trait SharedPage {
    /// Reads the aligned 32-bit word at `offset` once.
    fn load_u32(&self, offset: usize) -> u32;

    /// Writes the aligned 32-bit word at `offset` once.
    fn store_u32(&self, offset: usize, value: u32);

    /// Copies bytes starting at `offset` out of the page.
    fn copy_from(&self, offset: usize, into: &mut [u8]);

    /// Copies bytes into the page, starting at `offset`.
    fn copy_to(&self, offset: usize, from: &[u8]);
}

/// Pages side by side that devices can reach: a guest's, mapped by grant, or dom0's own.
#[expect(clippy::len_without_is_empty, reason = "there is always a page")]
pub trait IoMemory: SharedPage {
    /// How many bytes there are: whole pages.
    fn len(&self) -> usize;

    /// Where the first byte lies for the host's own drivers. A backend only passes it on.
    fn address(&self) -> u64;
}

/// Bytes of one page, to be read or filled by a device.
///
/// Holding it keeps the page mapped: a driver keeps its pieces until the device is done.
#[derive(Clone)]
pub struct Piece {
    /// The memory.
    pub memory: Rc<dyn IoMemory>,
    /// The first byte.
    pub offset: usize,
    /// How many. They do not reach into the next page.
    pub len: usize,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({:#x}+{})", self.offset, self.len)
    }
}

impl Piece {
    /// Where the piece lies for the host's own drivers.
    pub fn address(&self) -> u64 {
        self.memory.address() + self.offset as u64
    }

    /// Copies bytes out, starting `at` bytes into the piece.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        self.memory.copy_from(self.offset + at, into);
    }

    /// Copies bytes in, starting `at` bytes into the piece.
    pub fn write(&self, at: usize, from: &[u8]) {
        self.memory.copy_to(self.offset + at, from);
    }

    /// `len` bytes of it, `skip` bytes further on; less if there are not so many.
    #[must_use]
    pub fn part(&self, skip: usize, len: usize) -> Self {
        let skip = skip.min(self.len);
        Self {
            memory: self.memory.clone(),
            offset: self.offset + skip,
            len: len.min(self.len - skip),
        }
    }
}

/// A full memory barrier: orders data against the index that announces it, and our index
/// against our next look at the other side's.
pub(crate) fn full_barrier() {
    fence(Ordering::SeqCst);
}
