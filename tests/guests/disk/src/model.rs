//! What each sector of the disk must hold.
//!
//! A sector's bytes follow from its number and its generation, the count of writes to it, so a
//! generation a sector is all there is to remember.

use alloc::{vec, vec::Vec};

use crate::random::mix;

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;

/// The bytes of a sector of a generation.
pub(crate) fn pattern(sector: u64, generation: u32) -> [u8; SECTOR] {
    let mut word = mix(sector << 32 | u64::from(generation));
    let mut bytes = [0; SECTOR];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes());
        word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    bytes
}

/// The generation of each sector.
pub(crate) struct Model {
    /// `None`: nobody knows what the sector holds.
    written: Vec<Option<u32>>,
    /// The generation last given out.
    newest: u32,
}

impl Model {
    /// A disk of so many sectors, of which nothing is known.
    pub(crate) fn new(sectors: u64) -> Self {
        let sectors = usize::try_from(sectors).unwrap_or(0);
        Self {
            written: vec![None; sectors],
            newest: 0,
        }
    }

    /// How many sectors it has.
    pub(crate) fn sectors(&self) -> u64 {
        self.written.len() as u64
    }

    /// A generation for a write.
    pub(crate) fn next_generation(&mut self) -> u32 {
        self.newest += 1;
        self.newest
    }

    /// Sectors hold a generation from now on, or nobody knows what.
    pub(crate) fn set(&mut self, start: u64, count: u64, generation: Option<u32>) {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let places = self.written.iter_mut().skip(start);
        let count = usize::try_from(count).unwrap_or(0);
        places.take(count).for_each(|place| *place = generation);
    }

    /// Whether a sector may hold these bytes.
    pub(crate) fn allows(&self, sector: u64, bytes: &[u8; SECTOR]) -> bool {
        let place = usize::try_from(sector).ok();
        match place.and_then(|place| self.written.get(place)) {
            Some(Some(generation)) => *bytes == pattern(sector, *generation),
            Some(None) => true,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_sector_allows_its_own_bytes_only() {
        let mut model = Model::new(8);
        assert!(model.allows(3, &[0; SECTOR]));
        let generation = model.next_generation();
        model.set(3, 2, Some(generation));
        assert!(model.allows(3, &pattern(3, generation)));
        assert!(!model.allows(3, &pattern(4, generation)));
        assert!(!model.allows(4, &pattern(4, generation + 1)));
        model.set(0, 8, None);
        assert!(model.allows(3, &[0; SECTOR]));
        assert!(!model.allows(8, &[0; SECTOR]));
    }
}
