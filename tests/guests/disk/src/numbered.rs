//! Numbered blocks: each sector says which block it belongs to, and whether it is whole.
//!
//! Block `n` lies in slot `n % slots`. A power cut may leave a block half written; each of its
//! sectors then is of this number or of one that was there before.

use crate::{model::SECTOR, random::mix};

/// Sectors of a block.
pub(crate) const BLOCK_SECTORS: u64 = 8;
const MAGIC: u64 = 0x6475_7261_626c_6521;

/// The bytes of one sector of a block.
pub(crate) fn sector(number: u64, index: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    let fill = (0..).map(|i| mix(number ^ index << 48 ^ i << 56));
    let words = [MAGIC, number, index].into_iter().chain(fill);
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Which block a sector belongs to, if it is a whole one with this index.
pub(crate) fn number_of(bytes: &[u8; SECTOR], index: u64) -> Option<u64> {
    let (head, _) = bytes.split_first_chunk::<16>()?;
    let number = u64::from_le_bytes(head[8..].try_into().ok()?);
    (*bytes == sector(number, index)).then_some(number)
}

/// The block that a slot must hold at least, after the blocks `first..=last` were promised; `None`
/// if none of them lies there.
pub(crate) fn expected(slot: u64, slots: u64, first: u64, last: u64) -> Option<u64> {
    let behind = (last % slots + slots - slot) % slots;
    last.checked_sub(behind).filter(|number| *number >= first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_tells_its_block() {
        assert_eq!(number_of(&sector(77, 3), 3), Some(77));
        assert_eq!(number_of(&sector(77, 3), 4), None);
        let mut torn = sector(77, 3);
        torn[511] ^= 1;
        assert_eq!(number_of(&torn, 3), None);
    }

    #[test]
    fn a_slot_holds_the_last_block_that_went_there() {
        assert_eq!(expected(2, 8, 1, 10), Some(10));
        assert_eq!(expected(3, 8, 1, 10), Some(3));
        assert_eq!(expected(3, 8, 5, 10), None);
        assert_eq!(expected(0, 8, 1, 7), None);
        assert_eq!(expected(0, 8, 0, 7), Some(0));
    }
}
