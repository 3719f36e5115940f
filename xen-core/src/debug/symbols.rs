//! The core's symbol table, for backtraces.
//!
//! The build appends it to the flat image, right at `__image_end` (the image is padded to whole
//! pages); the loader loads it with the rest. All numbers are little-endian, 32-bit:
//!
//! ```text
//!   0   "RADONSYM"
//!   8   bytes in all, header included
//!   12  number of symbols, n
//!   16  n times: offset of the function from the image's start, offset of its name in the table
//!       (ascending by the first)
//!   …   the names, demangled, each followed by a zero byte
//! ```
//!
//! An image without a table works; its backtraces show bare addresses.

const MAGIC: &[u8; 8] = b"RADONSYM";
const HEADER: usize = 16;
const ENTRY: usize = 8;

/// A symbol table that was found behind the image.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    table: &'a [u8],
    count: usize,
}

/// The size of the table that starts with `header`, if one does.
pub fn table_size(header: [u8; HEADER]) -> Option<u32> {
    header
        .starts_with(MAGIC)
        .then(|| u32_at(&header, 8))
        .flatten()
}

impl<'a> Symbols<'a> {
    /// Wraps a table; `None` if it is none.
    pub fn new(table: &'a [u8]) -> Option<Self> {
        let header = table.first_chunk()?;
        let size = usize::try_from(table_size(*header)?).ok()?;
        let table = table.get(..size)?;
        let count = usize::try_from(u32_at(table, 12)?).ok()?;
        Some(Self { table, count })
    }

    /// The function that contains the byte at `offset` of the image, and how far in that is.
    pub fn find(&self, offset: u32) -> Option<(&'a str, u32)> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.start(middle)? <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let index = low.checked_sub(1)?;
        Some((self.name(index)?, offset - self.start(index)?))
    }

    fn start(&self, index: usize) -> Option<u32> {
        u32_at(self.table, HEADER + ENTRY * index)
    }

    fn name(&self, index: usize) -> Option<&'a str> {
        let at = usize::try_from(u32_at(self.table, HEADER + ENTRY * index + 4)?).ok()?;
        let rest = self.table.get(at..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        core::str::from_utf8(rest.get(..end)?).ok()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::Symbols;

    fn sample() -> Vec<u8> {
        let mut table = b"RADONSYM".to_vec();
        let words: [u32; 6] = [42, 2, 0x1000, 32, 0x2000, 37];
        table.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        table.extend(b"main\0stop\0");
        table
    }

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let table = sample();
        let symbols = Symbols::new(&table).unwrap();
        assert_eq!(symbols.find(0x1000), Some(("main", 0)));
        assert_eq!(symbols.find(0x1fff), Some(("main", 0xfff)));
        assert_eq!(symbols.find(0x2004), Some(("stop", 4)));
        assert_eq!(symbols.find(0xfff), None);
    }

    #[test]
    fn a_cut_table_is_none() {
        let table = sample();
        assert!(Symbols::new(&table[..41]).is_none());
        assert!(Symbols::new(b"something else entirely").is_none());
    }
}
