//! bzip2: blocks of up to 900,000 bytes, sorted by what follows each byte.
//!
//! Written here because no maintained crate does it without the standard library or C.
//!
//! Each block undoes, in this order: Huffman codes (up to six tables, changing every 50
//! symbols), move-to-front with run lengths, the sorting, and a first run-length code.

use alloc::{vec, vec::Vec};

use super::{Decoder, DecompressError, Output};

const BLOCK_MAGIC: u64 = 0x3141_5926_5359;
const END_MAGIC: u64 = 0x1772_4538_5090;
/// Symbols coded with one table before the next selector counts.
const GROUP: usize = 50;
/// Longest code, in bits.
const MAX_CODE: usize = 20;
/// Run lengths are numbers of these two digits.
const RUN_A: usize = 0;
const RUN_B: usize = 1;

pub(super) struct Bzip2<'a> {
    bits: Bits<'a>,
    max_block: usize,
}

/// Bits, the highest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The next bit, counted from the start.
    position: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Result<bool, DecompressError> {
        let byte = self
            .bytes
            .get(self.position / 8)
            .ok_or(DecompressError::Truncated)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Ok(bit != 0)
    }

    fn number(&mut self, bits: u32) -> Result<u64, DecompressError> {
        (0..bits).try_fold(0, |number, _| Ok(number << 1 | u64::from(self.bit()?)))
    }

    fn size(&mut self, bits: u32) -> Result<usize, DecompressError> {
        usize::try_from(self.number(bits)?).map_err(|_| DecompressError::Corrupt)
    }
}

/// A canonical Huffman code.
struct Table {
    /// How many symbols have codes of each length.
    counts: [usize; MAX_CODE + 1],
    /// The symbols, by length and then by number.
    symbols: Vec<usize>,
}

impl Table {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; MAX_CODE + 1];
        let mut symbols = Vec::with_capacity(lengths.len());
        for length in 1..=MAX_CODE {
            for (symbol, _) in lengths.iter().enumerate().filter(|(_, l)| **l == length) {
                symbols.push(symbol);
                if let Some(count) = counts.get_mut(length) {
                    *count += 1;
                }
            }
        }
        Self { counts, symbols }
    }

    fn decode(&self, bits: &mut Bits<'_>) -> Result<usize, DecompressError> {
        let (mut code, mut first, mut index) = (0_usize, 0, 0);
        for count in self.counts.iter().skip(1) {
            code |= usize::from(bits.bit()?);
            if code < first + count {
                let symbol = self.symbols.get(index + code - first);
                return symbol.copied().ok_or(DecompressError::Corrupt);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
            if code < first {
                return Err(DecompressError::Corrupt);
            }
        }
        Err(DecompressError::Corrupt)
    }
}

impl<'a> Bzip2<'a> {
    pub(super) fn new(input: &'a [u8]) -> Result<Self, DecompressError> {
        let mut bits = Bits {
            bytes: input,
            position: 24,
        };
        let level = bits.size(8)?.wrapping_sub(usize::from(b'0'));
        if !(1..=9).contains(&level) {
            return Err(DecompressError::Corrupt);
        }
        Ok(Self {
            bits,
            max_block: level * 100_000,
        })
    }

    /// The byte values that occur in the block, in order.
    fn used_bytes(&mut self) -> Result<Vec<u8>, DecompressError> {
        let rows = self.bits.number(16)?;
        let mut used = Vec::new();
        for row in (0..16_u8).filter(|row| rows >> (15 - row) & 1 != 0) {
            let columns = self.bits.number(16)?;
            let present = (0..16_u8).filter(|column| columns >> (15 - column) & 1 != 0);
            used.extend(present.map(|column| row << 4 | column));
        }
        if used.is_empty() {
            Err(DecompressError::Corrupt)
        } else {
            Ok(used)
        }
    }

    /// Which table each group of symbols uses.
    fn selectors(&mut self, tables: usize) -> Result<Vec<usize>, DecompressError> {
        let count = self.bits.size(15)?;
        let mut order: Vec<usize> = (0..tables).collect();
        let mut selectors = Vec::with_capacity(count);
        for _ in 0..count {
            let mut place = 0;
            while self.bits.bit()? {
                place += 1;
                if place >= tables {
                    return Err(DecompressError::Corrupt);
                }
            }
            let table = order.remove(place);
            order.insert(0, table);
            selectors.push(table);
        }
        Ok(selectors)
    }

    fn table(&mut self, symbols: usize) -> Result<Table, DecompressError> {
        let mut length = self.bits.size(5)?;
        let mut lengths = Vec::with_capacity(symbols);
        for _ in 0..symbols {
            while self.bits.bit()? {
                length = if self.bits.bit()? {
                    length.wrapping_sub(1)
                } else {
                    length + 1
                };
                if !(1..=MAX_CODE).contains(&length) {
                    return Err(DecompressError::Corrupt);
                }
            }
            lengths.push(length);
        }
        Ok(Table::new(&lengths))
    }

    /// The sorted block: Huffman codes, run lengths and move-to-front undone.
    fn sorted(&mut self) -> Result<Vec<u8>, DecompressError> {
        let mut order = self.used_bytes()?;
        let end = order.len() + 1;
        let count = self.bits.size(3)?;
        if !(2..=6).contains(&count) {
            return Err(DecompressError::Corrupt);
        }
        let selectors = self.selectors(count)?;
        let tables: Vec<Table> = (0..count)
            .map(|_| self.table(end + 1))
            .collect::<Result<_, _>>()?;
        let mut sorted = Vec::new();
        sorted
            .try_reserve_exact(self.max_block)
            .map_err(|_| DecompressError::OutOfMemory)?;
        let (mut run, mut digit) = (0_usize, 1_usize);
        for selector in selectors {
            let table = tables.get(selector).ok_or(DecompressError::Corrupt)?;
            for _ in 0..GROUP {
                let symbol = table.decode(&mut self.bits)?;
                if symbol <= RUN_B {
                    run += if symbol == RUN_A { digit } else { digit * 2 };
                    digit <<= 1;
                    if run > self.max_block {
                        return Err(DecompressError::Corrupt);
                    }
                    continue;
                }
                let first = order.first().copied().unwrap_or_default();
                sorted.resize(sorted.len() + core::mem::take(&mut run), first);
                digit = 1;
                if symbol == end {
                    return Ok(sorted);
                }
                if sorted.len() >= self.max_block || symbol > order.len() {
                    return Err(DecompressError::Corrupt);
                }
                let byte = order.remove(symbol - 1);
                order.insert(0, byte);
                sorted.push(byte);
            }
        }
        Err(DecompressError::Corrupt)
    }

    fn block(&mut self, out: &mut Output) -> Result<(), DecompressError> {
        let crc = self.bits.number(32)?;
        if self.bits.bit()? {
            // A randomised block: no program has written one for decades.
            return Err(DecompressError::Unsupported);
        }
        let origin = self.bits.size(24)?;
        let sorted = self.sorted()?;
        if sorted.len() > self.max_block || origin >= sorted.len() {
            return Err(DecompressError::Corrupt);
        }
        let start = out.len();
        unsort(&sorted, origin, out)?;
        let written = out.since(start);
        if u64::from(crc_of(written)) == crc {
            Ok(())
        } else {
            Err(DecompressError::Corrupt)
        }
    }
}

impl Decoder for Bzip2<'_> {
    fn step(&mut self, out: &mut Output) -> Result<bool, DecompressError> {
        match self.bits.number(48)? {
            BLOCK_MAGIC => self.block(out).map(|()| false),
            END_MAGIC => self.bits.number(32).map(|_| true),
            _ => Err(DecompressError::Corrupt),
        }
    }
}

/// Undoes the sorting and, on the way, the first run-length code: four equal bytes are followed
/// by a count of more.
fn unsort(sorted: &[u8], origin: usize, out: &mut Output) -> Result<(), DecompressError> {
    let mut starts = [0_u32; 256];
    for &byte in sorted {
        starts[usize::from(byte)] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += core::mem::replace(start, sum);
    }
    let mut next = vec![0_u32; sorted.len()];
    for (place, &byte) in (0..).zip(sorted) {
        let slot = &mut starts[usize::from(byte)];
        if let Some(entry) = next.get_mut(*slot as usize) {
            *entry = place;
        }
        *slot += 1;
    }
    let (mut place, mut equal, mut last) = (origin, 0, None);
    for _ in 0..sorted.len() {
        place = next.get(place).map_or(0, |&next| next as usize);
        let byte = sorted.get(place).copied().unwrap_or_default();
        if equal == 4 {
            let run = usize::from(byte);
            out.extend_within(run, |to| {
                to.fill(last.unwrap_or_default());
                Ok((to.len(), ()))
            })?;
            equal = 0;
            last = None;
            continue;
        }
        equal = if last == Some(byte) { equal + 1 } else { 1 };
        last = Some(byte);
        out.append(&[byte])?;
    }
    Ok(())
}

/// bzip2's checksum: the usual polynomial, highest bit first.
fn crc_of(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        let mut number = 0_u32;
        while byte < 256 {
            let mut crc = number << 24;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc >> 31 != 0 {
                    crc << 1 ^ 0x04c1_1db7
                } else {
                    crc << 1
                };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
            number += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, &byte| {
        let [top, ..] = crc.to_be_bytes();
        crc << 8 ^ TABLE[usize::from(top ^ byte)]
    })
}
