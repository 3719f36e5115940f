//! Cutting from an ELF what is not loaded: it travels to dom0 over a narrow channel.

use anyhow::{Context, Result};
use object::Endianness;
use object::read::elf::{ElfFile64, ProgramHeader};

/// Where the ELF64 header speaks of sections: their offset, and size, count and names' index.
const SECTION_OFFSET: std::ops::Range<usize> = 40..48;
const SECTION_COUNTS: std::ops::Range<usize> = 58..64;

/// The program without sections, symbols and debug information.
///
/// # Errors
///
/// If it is not an ELF64 file.
pub fn strip(program: &[u8]) -> Result<Vec<u8>> {
    let elf: ElfFile64<'_, Endianness> = ElfFile64::parse(program).context("not an ELF64 file")?;
    let endian = elf.endian();
    let headers = elf.elf_program_headers();
    let ends = headers.iter().map(|header| {
        header
            .p_offset(endian)
            .saturating_add(header.p_filesz(endian))
    });
    let end = usize::try_from(ends.max().context("nothing to load")?)?;
    let mut stripped = program
        .get(..end)
        .context("a segment outside the file")?
        .to_vec();
    for range in [SECTION_OFFSET, SECTION_COUNTS] {
        stripped.get_mut(range).context("no ELF64 header")?.fill(0);
    }
    Ok(stripped)
}
