//! The table of functions behind the core's image, for its backtraces.
//!
//! The format is the core's (`xen-core/src/debug/symbols.rs`); all numbers are little endian and
//! 32 bits wide: "RADONSYM", length of the whole, number of functions; then for each its offset in
//! the image and that of its name in the table, ascending; then the names, each ended by a zero.

use std::collections::BTreeMap;

use anyhow::Result;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, SymbolKind};

const MAGIC: &[u8; 8] = b"RADONSYM";
const HEADER: usize = 16;
const ENTRY: usize = 8;

/// The table for an image that begins at `base`; empty if the program has no symbols.
pub(super) fn table(program: &ElfFile64<'_, Endianness>, base: u64) -> Result<Vec<u8>> {
    let mut functions = BTreeMap::new();
    for symbol in program.symbols() {
        let (Ok(name), Some(offset)) = (symbol.name(), symbol.address().checked_sub(base)) else {
            continue;
        };
        // Labels of assembly have no type, but they matter all the same.
        let is_code = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label)
            || (symbol.kind() == SymbolKind::Unknown && symbol.is_global());
        if is_code && symbol.is_definition() && !name.is_empty() && !name.starts_with(".L") {
            functions.insert(
                u32::try_from(offset)?,
                format!("{:#}", rustc_demangle::demangle(name)),
            );
        }
    }
    if functions.is_empty() {
        return Ok(Vec::new());
    }

    let names_start = HEADER + ENTRY * functions.len();
    let (mut entries, mut names) = (Vec::new(), Vec::new());
    for (offset, name) in &functions {
        entries.extend(offset.to_le_bytes());
        entries.extend(u32::try_from(names_start + names.len())?.to_le_bytes());
        names.extend(name.as_bytes());
        names.push(0);
    }
    let mut table = MAGIC.to_vec();
    table.extend(u32::try_from(names_start + names.len())?.to_le_bytes());
    table.extend(u32::try_from(functions.len())?.to_le_bytes());
    table.extend(entries);
    table.extend(names);
    Ok(table)
}
