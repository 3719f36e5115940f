//! What a kernel wants of a disk, and what disk it gets.

#[cfg(doc)]
use super::Operation;

/// What a kernel wants of a disk's rings. The backend may offer less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Rings. One is enough for one vCPU.
    pub queues: u16,
    /// Pages of each ring, as a power of two: 32 requests in flight for each page.
    pub ring_order: u32,
    /// The most segments in a request.
    pub max_segments: usize,
    /// Whether the backend may keep pages mapped.
    pub persistent: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queues: 1,
            ring_order: 0,
            max_segments: 256,
            persistent: true,
        }
    }
}

/// What the backend does beyond reading and writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// [`Operation::Flush`].
    pub flush: bool,
    /// [`Operation::Barrier`].
    pub barrier: bool,
    /// [`Operation::Discard`].
    pub discard: bool,
    /// The secure kind of it.
    pub discard_secure: bool,
    /// The backend keeps pages mapped.
    pub persistent: bool,
}

/// What disk it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Its size in units of 512 bytes.
    pub sectors: u64,
    /// Bytes of its own sectors: requests begin and end at their bounds.
    pub sector_size: u32,
    /// Bytes of what it writes at once.
    pub physical_sector_size: u32,
    /// It cannot be written.
    pub read_only: bool,
    /// The most segments in a request.
    pub max_segments: usize,
    /// What else it does.
    pub features: Features,
}
