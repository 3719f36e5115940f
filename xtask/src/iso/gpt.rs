//! Names in a GUID partition table: `xorriso` chooses them, and dom0 wants its own.
//!
//! UEFI 2.x, 5.3: a header in the second block and one in the last, each with its own copy of the
//! entries; an entry ends in 36 UTF-16 units of name. Both are guarded by CRC-32.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

const BLOCK: u64 = 512;
const SIGNATURE: &[u8] = b"EFI PART";
const NAME: usize = 56;
const NAME_UNITS: usize = 36;

/// Gives the partition called `from` the name `to`, in both copies of the table.
///
/// # Errors
///
/// If there is no such partition or no sound table; the file is unchanged then.
pub(super) fn rename(image: &Path, from: &str, to: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(image)?;
    let mut primary = Table::read(&mut file, 1)?;
    let last = number(&primary.header, 32, 8)?;
    let mut backup = Table::read(&mut file, last)?;
    for table in [&mut primary, &mut backup] {
        table.rename(from, to)?;
    }
    // The backup first: a table that is whole stays at one end of the image at any time.
    backup.write(&mut file)?;
    primary.write(&mut file)
}

/// One copy of the table.
struct Table {
    block: u64,
    header: Vec<u8>,
    entries: Vec<u8>,
    entry_bytes: usize,
}

impl Table {
    fn read(file: &mut File, block: u64) -> Result<Self> {
        let mut header = read(file, block, BLOCK)?;
        ensure!(
            header.starts_with(SIGNATURE),
            "block {block} holds no header"
        );
        let length = usize::try_from(number(&header, 12, 4)?)?;
        ensure!(
            (92..=header.len()).contains(&length),
            "a header of {length} bytes"
        );
        header.truncate(length);
        let (count, size) = (number(&header, 80, 4)?, number(&header, 84, 4)?);
        ensure!(
            count <= 1024 && (128..=4096).contains(&size),
            "{count} entries of {size} bytes"
        );
        Ok(Self {
            block,
            entries: read(file, number(&header, 72, 8)?, count * size)?,
            header,
            entry_bytes: usize::try_from(size)?,
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (name(from)?, name(to)?);
        let entry = self
            .entries
            .chunks_exact_mut(self.entry_bytes)
            .find_map(|entry| {
                entry
                    .get_mut(NAME..NAME + from.len())
                    .filter(|n| **n == *from)
            })
            .context("no partition of the name that xorriso gives")?;
        entry.copy_from_slice(&to);
        let entries = crc32fast::hash(&self.entries);
        self.put(88, entries);
        self.put(16, 0);
        let header = crc32fast::hash(&self.header);
        self.put(16, header);
        Ok(())
    }

    /// Sets a word of the header, which is long enough for it.
    fn put(&mut self, at: usize, word: u32) {
        if let Some(bytes) = self.header.get_mut(at..at + 4) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }

    fn write(&self, file: &mut File) -> Result<()> {
        let entries = number(&self.header, 72, 8)?;
        for (block, bytes) in [(entries, &self.entries), (self.block, &self.header)] {
            file.seek(SeekFrom::Start(block * BLOCK))?;
            file.write_all(bytes)?;
        }
        Ok(())
    }
}

fn read(file: &mut File, block: u64, bytes: u64) -> Result<Vec<u8>> {
    let at = block.checked_mul(BLOCK).context("beyond any disk")?;
    let mut buffer = vec![0; usize::try_from(bytes)?];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut buffer)
        .with_context(|| format!("block {block} lies beyond the image's end"))?;
    Ok(buffer)
}

/// A name as it stands in an entry.
fn name(text: &str) -> Result<Vec<u8>> {
    let mut units: Vec<_> = text.encode_utf16().collect();
    ensure!(units.len() <= NAME_UNITS, "{text:?} is too long for a name");
    units.resize(NAME_UNITS, 0);
    Ok(units.into_iter().flat_map(u16::to_le_bytes).collect())
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Result<u64> {
    let bytes = bytes.get(at..at + width).context("a table cut short")?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
