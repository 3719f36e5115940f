//! Where the chunks of a layer lie: a table of two levels, so that what was never written costs
//! nothing to remember.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::layout::{BLOCK_SECTORS, CHUNK_SECTORS};

/// Entries of a leaf: 16 MiB of the volume.
const LEAF: usize = 256;

/// A chunk of a layer: where it lies, and which of its sixteen blocks the layer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The pool's chunk; none when 0, where the superblock lies.
    pub(super) chunk: u32,
    /// A bit for each block.
    pub(super) valid: u16,
}

impl Entry {
    /// An entry.
    pub(super) const fn new(chunk: u32, valid: u16) -> Self {
        Self { chunk, valid }
    }

    /// Whether a chunk of the pool is there to be written to.
    pub(super) fn is_mapped(self) -> bool {
        self.chunk != 0
    }

    /// The bits of the blocks that sectors touch: of the chunk in which the first lies.
    pub(super) fn blocks(sector: u64, sectors: u64) -> u16 {
        let start = sector % CHUNK_SECTORS;
        let end = (start + sectors).min(CHUNK_SECTORS);
        let (first, last) = (start / BLOCK_SECTORS, end.div_ceil(BLOCK_SECTORS));
        let below = |bit: u64| (1u32 << bit.min(16)) - 1;
        u16::try_from(below(last) & !below(first)).unwrap_or(u16::MAX)
    }

    /// Whether all of these blocks are here.
    pub(super) fn holds(self, blocks: u16) -> bool {
        self.valid & blocks == blocks
    }

    /// Whether the block of a sector is here, and the sector from which on, within the chunk,
    /// it is the other way round.
    pub(super) fn run(self, sector: u64) -> (bool, u64) {
        let chunk = sector - sector % CHUNK_SECTORS;
        let block = sector % CHUNK_SECTORS / BLOCK_SECTORS;
        let here = self.valid >> block & 1 != 0;
        let others = if here { !self.valid } else { self.valid };
        let same = u64::from((others >> block).trailing_zeros()).min(16 - block);
        (here, chunk + (block + same) * BLOCK_SECTORS)
    }

    /// Where a sector of the volume lies in the pool.
    pub(super) fn place(self, sector: u64) -> u64 {
        u64::from(self.chunk) * CHUNK_SECTORS + sector % CHUNK_SECTORS
    }
}

/// The entries of a layer.
#[derive(Debug, Default)]
pub(super) struct Map {
    leaves: Vec<Option<Box<[Entry; LEAF]>>>,
}

impl Map {
    /// The entry of a chunk.
    pub(super) fn get(&self, chunk: u32) -> Entry {
        let (leaf, at) = split(chunk);
        match self.leaves.get(leaf) {
            Some(Some(leaf)) => leaf.get(at).copied().unwrap_or_default(),
            _ => Entry::default(),
        }
    }

    /// Replaces the entry of a chunk; returns what it was.
    pub(super) fn set(&mut self, chunk: u32, entry: Entry) -> Entry {
        let (leaf, at) = split(chunk);
        if leaf >= self.leaves.len() {
            if entry == Entry::default() {
                return entry;
            }
            self.leaves.resize_with(leaf + 1, || None);
        }
        let Some(leaf) = self.leaves.get_mut(leaf) else {
            return Entry::default();
        };
        let leaf = leaf.get_or_insert_with(|| Box::new([Entry::default(); LEAF]));
        match leaf.get_mut(at) {
            Some(slot) => core::mem::replace(slot, entry),
            None => Entry::default(),
        }
    }

    /// The first mapped chunk from `from` on.
    pub(super) fn next(&self, from: u32) -> Option<(u32, Entry)> {
        let (first, at) = split(from);
        let mut at = at;
        for (number, leaf) in self.leaves.iter().enumerate().skip(first) {
            if let Some(leaf) = leaf {
                let mut entries = leaf.iter().enumerate().skip(at);
                if let Some((at, entry)) = entries.find(|(_, entry)| entry.is_mapped()) {
                    return Some((u32::try_from(number * LEAF + at).ok()?, *entry));
                }
            }
            at = 0;
        }
        None
    }

    /// All mapped chunks.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Entry)> + '_ {
        let mut from = Some(0);
        core::iter::from_fn(move || {
            let (chunk, entry) = self.next(from?)?;
            from = chunk.checked_add(1);
            Some((chunk, entry))
        })
    }
}

/// The leaf of a chunk, and its place there.
fn split(chunk: u32) -> (usize, usize) {
    let chunk = usize::try_from(chunk).unwrap_or(usize::MAX);
    (chunk / LEAF, chunk % LEAF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_blocks_touched() {
        assert_eq!(Entry::blocks(0, 1), 1);
        assert_eq!(Entry::blocks(0, CHUNK_SECTORS), u16::MAX);
        assert_eq!(Entry::blocks(7, 2), 0b11);
        assert_eq!(Entry::blocks(CHUNK_SECTORS + 8, 16), 0b110);
        assert_eq!(Entry::blocks(127, 1000), 0x8000);
    }

    #[test]
    fn a_run_ends_where_blocks_change_or_the_chunk_ends() {
        let entry = Entry::new(1, 0b1110_0000_0000_0110);
        assert_eq!(entry.run(3), (false, 8));
        assert_eq!(entry.run(128 + 8), (true, 128 + 24));
        assert_eq!(entry.run(24), (false, 13 * 8));
        assert_eq!(entry.run(127), (true, 128));
        assert_eq!(Entry::default().run(5), (false, 128));
    }

    #[test]
    fn a_map_finds_what_was_put_in() {
        let mut map = Map::default();
        for chunk in [0, 255, 256, 70_000] {
            assert!(!map.set(chunk, Entry::new(chunk + 1, 1)).is_mapped());
        }
        let all: Vec<u32> = map.iter().map(|(chunk, _)| chunk).collect();
        assert_eq!(all, [0, 255, 256, 70_000]);
        assert_eq!(map.set(255, Entry::default()), Entry::new(256, 1));
        assert_eq!(map.get(255), Entry::default());
        assert_eq!(map.next(1), Some((256, Entry::new(257, 1))));
        assert_eq!(map.get(u32::MAX), Entry::default());
    }
}
