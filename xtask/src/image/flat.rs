//! The core's ELF as a flat image.
//!
//! QEMU's multiboot loader refuses ELF64, so the image is laid out as memory will be: every
//! loadable segment at its physical address, counted from the lowest. The multiboot header in its
//! first bytes says where it goes. Behind it comes the table of symbols for backtraces.

use anyhow::{Context, Result, ensure};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, elf};

use super::symbols;

/// Larger images are a mistake of the linker script.
const MAX_BYTES: u64 = 64 << 20;
/// The image's end, and the symbols behind it, begin with a page.
const PAGE: usize = 4096;

/// The flat image of an ELF64 program.
///
/// # Errors
///
/// If it is none, or its segments make no sense.
pub fn flatten(program: &[u8]) -> Result<Vec<u8>> {
    let elf: ElfFile64<'_, Endianness> = ElfFile64::parse(program).context("not an ELF64 file")?;
    let endian = elf.endian();
    let segments: Vec<_> = elf
        .elf_program_headers()
        .iter()
        .filter(|header| header.p_type(endian) == elf::PT_LOAD && header.p_memsz(endian) > 0)
        .collect();
    let base = segments.iter().map(|header| header.p_paddr(endian)).min();
    let base = base.context("nothing to load")?;
    let end = segments.iter().map(|header| {
        header
            .p_paddr(endian)
            .saturating_add(header.p_memsz(endian))
    });
    let length = end.max().unwrap_or(base) - base;
    ensure!(length <= MAX_BYTES, "segments {length} bytes apart");

    let mut image = vec![0; usize::try_from(length)?.next_multiple_of(PAGE)];
    for header in segments {
        let data = header
            .data(endian, program)
            .ok()
            .context("a segment outside the file")?;
        let start = usize::try_from(header.p_paddr(endian) - base)?;
        let room = image
            .get_mut(start..start + data.len())
            .context("a segment too long")?;
        room.copy_from_slice(data);
    }
    let virtual_base = virtual_base(&elf, base).context("no segment at the lowest address")?;
    image.extend(symbols::table(&elf, virtual_base)?);
    Ok(image)
}

/// The virtual address of the image's first byte.
fn virtual_base(elf: &ElfFile64<'_, Endianness>, physical_base: u64) -> Option<u64> {
    let endian = elf.endian();
    elf.elf_program_headers()
        .iter()
        .find(|header| {
            header.p_type(endian) == elf::PT_LOAD && header.p_paddr(endian) == physical_base
        })
        .map(|header| header.p_vaddr(endian))
}
