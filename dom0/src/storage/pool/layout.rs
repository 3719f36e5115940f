//! Where things lie in a pool.
//!
//! ```text
//!   chunk 0      1 …            …               …                … end
//!   ┌───────────┬─────────┬───────────────┬───────────────┬──────────────┐
//!   │ superblock│ journal │ checkpoint of │ checkpoint of │ data chunks  │
//!   │ two copies│         │ even          │ odd generation│              │
//!   └───────────┴─────────┴───────────────┴───────────────┴──────────────┘
//! ```

use serde::{Deserialize, Serialize};

use backends::host::SECTOR_SIZE;

/// Bytes that have a bit of their own in a map entry, and that metadata is written in.
pub(super) const BLOCK: usize = 4096;
/// Bytes that are allocated at a time.
pub(super) const CHUNK: usize = 64 << 10;
/// Sectors of a block.
pub(super) const BLOCK_SECTORS: u64 = (BLOCK / SECTOR_SIZE) as u64;
/// Sectors of a chunk.
pub(super) const CHUNK_SECTORS: u64 = (CHUNK / SECTOR_SIZE) as u64;

/// Bytes a map entry may take in a checkpoint: five numbers, each at its longest.
const ENTRY_BYTES: u64 = 20;
/// Likewise a volume's description.
pub(super) const DESCRIPTION_BYTES: u64 = 512;
/// Chunks of the smallest journal.
const MIN_JOURNAL: u64 = 4;
/// Chunks of the longest journal.
const MAX_JOURNAL: u64 = 512;
/// Chunks of data that make a pool worth having.
const MIN_DATA: u64 = 16;

/// How big the parts of a pool are. Written once, when the pool is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// Chunks of the pool, all parts counted.
    pub(super) chunks: u32,
    /// Chunks of the journal.
    pub(super) journal: u32,
    /// Chunks of each of the two checkpoints.
    pub(super) checkpoint: u32,
    /// Most volumes there can be.
    pub(super) volumes: u32,
}

impl Layout {
    /// The layout for a device of so many sectors; none if it is too small.
    pub(super) fn for_device(sectors: u64) -> Option<Self> {
        let chunks = (sectors / CHUNK_SECTORS).min(u32::MAX.into());
        let volumes = (chunks / 16).clamp(64, 4096);
        let bytes = chunks * ENTRY_BYTES + volumes * DESCRIPTION_BYTES;
        let checkpoint = bytes.div_ceil(CHUNK as u64);
        let journal = (chunks / 256).clamp(MIN_JOURNAL, MAX_JOURNAL);
        let layout = Self {
            chunks: u32::try_from(chunks).ok()?,
            journal: u32::try_from(journal).ok()?,
            checkpoint: u32::try_from(checkpoint).ok()?,
            volumes: u32::try_from(volumes).ok()?,
        };
        layout.is_sound(sectors).then_some(layout)
    }

    /// Whether the parts fit the device and leave room for data.
    pub(super) fn is_sound(&self, sectors: u64) -> bool {
        let metadata = 1 + u64::from(self.journal) + 2 * u64::from(self.checkpoint);
        let chunks = u64::from(self.chunks);
        chunks * CHUNK_SECTORS <= sectors && metadata + MIN_DATA <= chunks && self.journal > 0
    }

    /// The byte at which the superblock of a generation lies: each copy serves every other one.
    pub(super) fn superblock(generation: u64) -> u64 {
        generation % 2 * (CHUNK / 2) as u64
    }

    /// The first byte of the journal.
    pub(super) fn journal_start(&self) -> u64 {
        CHUNK as u64
    }

    /// Bytes of the journal.
    pub(super) fn journal_len(&self) -> u64 {
        u64::from(self.journal) * CHUNK as u64
    }

    /// The first byte of a generation's checkpoint.
    pub(super) fn checkpoint_start(&self, generation: u64) -> u64 {
        self.journal_start() + self.journal_len() + generation % 2 * self.checkpoint_len()
    }

    /// Bytes of each checkpoint.
    pub(super) fn checkpoint_len(&self) -> u64 {
        u64::from(self.checkpoint) * CHUNK as u64
    }

    /// The first chunk that holds data.
    pub(super) fn first_data(&self) -> u32 {
        1 + self.journal + 2 * self.checkpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_takes_little_of_a_pool() {
        for gib in [1, 4, 100, 10_000] {
            let layout = Layout::for_device(gib << 21).unwrap();
            assert!(u64::from(layout.first_data()) * 50 < u64::from(layout.chunks));
        }
    }

    #[test]
    fn a_device_too_small_for_a_pool_is_refused() {
        assert_eq!(Layout::for_device(0), None);
        assert_eq!(Layout::for_device(20 * CHUNK_SECTORS), None);
        assert!(Layout::for_device(64 * CHUNK_SECTORS).is_some());
    }
}
