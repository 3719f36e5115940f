//! Where unpacked bytes go: a vector that knows its limit and asks before it grows.
//!
//! Memory that isn't there is an error here and never the end of dom0. Since an unpacked kernel
//! may be a third of dom0's memory, a vector of the expected length is filled up to its last byte
//! before it grows.

use alloc::vec::Vec;

use super::DecompressError;

/// Room beyond the expected length, in which a decoder finds out that nothing more comes.
const SLACK: usize = 4096;
/// Least room a decoder is given.
const MIN_ROOM: usize = 1024;

#[derive(Debug)]
pub(super) struct Output {
    bytes: Vec<u8>,
    limit: usize,
}

/// Asks for memory, so that a crate that doesn't ask may take it right afterwards.
pub(super) fn ask_for(bytes: usize) -> Result<(), DecompressError> {
    let mut trial: Vec<u8> = Vec::new();
    trial
        .try_reserve_exact(bytes)
        .map_err(|_| DecompressError::OutOfMemory)
}

impl Output {
    /// Room for `expected` bytes, if that is a good guess, and never more than `limit`.
    pub(super) fn new(expected: usize, limit: usize) -> Result<Self, DecompressError> {
        let mut bytes = Vec::new();
        let room = expected.min(limit) + SLACK;
        bytes
            .try_reserve_exact(room)
            .map_err(|_| DecompressError::OutOfMemory)?;
        Ok(Self { bytes, limit })
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Those behind the first `start`.
    pub(super) fn since(&self, start: usize) -> &[u8] {
        self.bytes.get(start..).unwrap_or_default()
    }

    /// How many fit without growing.
    pub(super) fn free(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn reserve(&mut self, count: usize) -> Result<(), DecompressError> {
        self.bytes
            .try_reserve(count)
            .map_err(|_| DecompressError::OutOfMemory)
    }

    /// Lets `fill` write up to about `count` bytes more; it says how many it wrote.
    pub(super) fn extend_with<T>(
        &mut self,
        count: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(usize, T), DecompressError>,
    ) -> Result<T, DecompressError> {
        let free = self.free();
        let count = if free >= MIN_ROOM {
            count.min(free)
        } else {
            count
        };
        self.extend_within(count, fill)
    }

    /// As [`extend_with`](Self::extend_with), and there is room for all `count` bytes, unless the
    /// limit comes first.
    pub(super) fn extend_within<T>(
        &mut self,
        count: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(usize, T), DecompressError>,
    ) -> Result<T, DecompressError> {
        let start = self.bytes.len();
        // One byte more than the limit may be written, so that going over it is noticed.
        let count = count.min((self.limit + 1).saturating_sub(start));
        self.reserve(count)?;
        self.bytes.resize(start + count, 0);
        let result = fill(self.bytes.get_mut(start..).unwrap_or_default());
        let written = result.as_ref().map_or(0, |(written, _)| *written);
        self.bytes.truncate(start + written);
        self.check()?;
        result.map(|(_, value)| value)
    }

    /// The error for something that didn't fit although it may go up to `end`: beyond the limit
    /// it is too long, within it its own length is wrong.
    pub(super) fn too_long(&self, end: usize) -> DecompressError {
        let limit = self.limit;
        if end > limit {
            DecompressError::TooLong { limit }
        } else {
            DecompressError::Corrupt
        }
    }

    /// Adds bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), DecompressError> {
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        self.check()
    }

    fn check(&self) -> Result<(), DecompressError> {
        let limit = self.limit;
        if self.bytes.len() > limit {
            Err(DecompressError::TooLong { limit })
        } else {
            Ok(())
        }
    }
}
