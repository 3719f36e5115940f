//! Directories of a FAT: short names, and the long ones in front of them.

use alloc::string::String;
use alloc::vec::Vec;

use super::layout::{u16_at, u32_at};

/// Bytes of an entry.
const ENTRY: usize = 32;
/// Attributes: a directory, the name of the volume, and all of them that make a part of a name.
const DIRECTORY: u8 = 0x10;
const VOLUME: u8 = 0x08;
const LONG: u8 = 0x0f;
/// The first byte of an entry that is free, and of the first that was never used.
const FREE: u8 = 0xe5;
const END: u8 = 0;
/// Marks the first part of a long name, which is its end.
const LAST_PART: u8 = 0x40;
/// Where the characters of a part of a long name are.
const LONG_CHARACTERS: [core::ops::Range<usize>; 3] = [1..11, 14..26, 28..32];

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its long name, if it has one.
    pub(super) name: String,
    pub(super) is_dir: bool,
    /// The first cluster; 0 of an empty file, and of the root.
    pub(super) cluster: u32,
    pub(super) size: u32,
}

/// A long name that is being put together, last part first.
#[derive(Default)]
struct LongName {
    characters: Vec<u16>,
    /// The number of the part that came last, and the sum over the short name.
    expected: Option<(u8, u8)>,
}

/// The entries of a directory, without itself and the one above it.
pub(super) fn parse(bytes: &[u8]) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut long = LongName::default();
    for entry in bytes.chunks_exact(ENTRY) {
        let (first, attributes) = (byte(entry, 0), byte(entry, 11));
        if first == END {
            break;
        }
        if first != FREE && attributes & LONG == LONG {
            long.add(entry);
            continue;
        }
        let name = core::mem::take(&mut long);
        if first != FREE && attributes & VOLUME == 0 && first != b'.' {
            all.extend(read(entry, &name));
        }
    }
    all
}

fn read(entry: &[u8], long: &LongName) -> Option<Entry> {
    let high = u32::from(u16_at(entry, 20)?);
    Some(Entry {
        name: long.name(entry).unwrap_or_else(|| short_name(entry)),
        is_dir: byte(entry, 11) & DIRECTORY != 0,
        cluster: high << 16 | u32::from(u16_at(entry, 26)?),
        size: u32_at(entry, 28)?,
    })
}

impl LongName {
    /// Puts a part in front of those that came before.
    fn add(&mut self, entry: &[u8]) {
        let (number, sum) = (byte(entry, 0), byte(entry, 13));
        let follows = self.expected == Some((number, sum));
        if number & LAST_PART == 0 && !follows {
            *self = Self::default();
            return;
        }
        if !follows {
            self.characters.clear();
        }
        let pairs = LONG_CHARACTERS
            .into_iter()
            .filter_map(|range| entry.get(range));
        let part = pairs.flat_map(|bytes| bytes.chunks_exact(2));
        let part = part.filter_map(|pair| u16_at(pair, 0));
        let part: Vec<u16> = part.take_while(|&c| c != 0).collect();
        self.characters.splice(0..0, part);
        let number = number & !LAST_PART;
        self.expected = number.checked_sub(1).map(|next| (next, sum));
    }

    /// The name, if it is whole and belongs to this entry.
    fn name(&self, entry: &[u8]) -> Option<String> {
        let sum = entry.get(..11)?.iter();
        let sum = sum.fold(0u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
        let whole = self.expected == Some((0, sum)) && !self.characters.is_empty();
        whole.then(|| String::from_utf16_lossy(&self.characters))
    }
}

/// `NAME.EXT`, with the letters that are marked as small ones made small.
fn short_name(entry: &[u8]) -> String {
    let small = byte(entry, 12);
    let part = |range: core::ops::Range<usize>, is_small: bool| {
        let part = String::from_utf8_lossy(entry.get(range).unwrap_or_default());
        let part = part.trim_end();
        match is_small {
            true => part.to_ascii_lowercase(),
            false => part.into(),
        }
    };
    let name = part(0..8, small & 0x08 != 0);
    let extension = part(8..11, small & 0x10 != 0);
    match extension.is_empty() {
        true => name,
        false => name + "." + &extension,
    }
}

fn byte(entry: &[u8], at: usize) -> u8 {
    entry.get(at).copied().unwrap_or(0)
}
