//! The Multiboot 2 information: tags, each with a type and a size.
//!
//! Layout: Multiboot2 Specification 2.0, section 3.6. What no tag's own bytes can hold is refused;
//! tags that mean nothing to us are passed over. Texts are without file names.

use heapless::String;

use super::loader::{BootInfo, MAX_TEXT, Module, Problem};
use super::memory_map::{Kind, Region};
use super::phys::PhysRead;

/// What the loader leaves in EAX.
pub const MAGIC: u32 = 0x36d7_6289;

/// The longest information that we believe in.
const MAX_SIZE: u32 = 1 << 20;
const TAG_HEADER: u32 = 8;
/// Tags start at multiples of this.
const ALIGNMENT: u64 = 8;

mod kind {
    pub(super) const END: u32 = 0;
    pub(super) const COMMAND_LINE: u32 = 1;
    pub(super) const MODULE: u32 = 3;
    pub(super) const BASIC_MEMORY: u32 = 4;
    pub(super) const MEMORY_MAP: u32 = 6;
    pub(super) const EFI32_SYSTEM_TABLE: u32 = 11;
    pub(super) const EFI64_SYSTEM_TABLE: u32 = 12;
    pub(super) const OLD_ACPI: u32 = 14;
    pub(super) const NEW_ACPI: u32 = 15;
    pub(super) const EFI_MEMORY_MAP: u32 = 17;
    pub(super) const EFI_BOOT_SERVICES: u32 = 18;
}

/// Where the tags lie that describe memory: the best of them counts.
#[derive(Default)]
struct MemoryTags {
    map: Option<Tag>,
    efi: Option<Tag>,
    basic: Option<Tag>,
}

/// A tag that lies in the information as a whole.
#[derive(Clone, Copy)]
struct Tag {
    at: u64,
    kind: u32,
    size: u32,
}

impl Tag {
    /// The address of the payload's byte at `offset` (from the tag's start, as in the
    /// specification), with at least `bytes` behind it.
    fn field(self, offset: u32, bytes: u32) -> Result<u64, Problem> {
        if offset + bytes > self.size {
            return Err(self.problem());
        }
        Ok(self.at + u64::from(offset))
    }

    fn u32(self, memory: &impl PhysRead, offset: u32) -> Result<u32, Problem> {
        let at = self.field(offset, 4)?;
        memory.u32(at).ok_or(Problem::Unreadable(at))
    }

    fn u64(self, memory: &impl PhysRead, offset: u32) -> Result<u64, Problem> {
        let at = self.field(offset, 8)?;
        memory.u64(at).ok_or(Problem::Unreadable(at))
    }

    /// The text from `offset` on: it ends with the tag, whether or not it says so.
    fn text(self, memory: &impl PhysRead, offset: u32) -> Result<String<MAX_TEXT>, Problem> {
        let mut text = memory.text::<MAX_TEXT>(self.field(offset, 1)?);
        text.truncate((self.size - offset) as usize);
        Ok(text)
    }

    /// The offsets of entries of `size` bytes, from `first` on; each is at least `least` long.
    fn entries(
        self,
        first: u32,
        size: u32,
        least: u32,
    ) -> Result<impl Iterator<Item = u32>, Problem> {
        if size < least || first > self.size {
            return Err(self.problem());
        }
        let count = self.size.saturating_sub(first) / size;
        Ok((0..count).map(move |index| first + index * size))
    }

    const fn problem(self) -> Problem {
        Problem::Tag {
            kind: self.kind,
            size: self.size,
        }
    }
}

/// Reads the information at `at`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(memory: &impl PhysRead, at: u64) -> Result<BootInfo, Problem> {
    let size = memory.u32(at).ok_or(Problem::Unreadable(at))?;
    if !(2 * TAG_HEADER..=MAX_SIZE).contains(&size) || !at.is_multiple_of(ALIGNMENT) {
        return Err(Problem::Size(size));
    }
    let end = at + u64::from(size);
    let mut info = BootInfo::default();
    let mut memory_tags = MemoryTags::default();
    let mut next = at + u64::from(TAG_HEADER);
    loop {
        let tag = tag(memory, next, end)?;
        if tag.kind == kind::END {
            break;
        }
        read_tag(memory, tag, &mut info, &mut memory_tags)?;
        next = (next + u64::from(tag.size)).next_multiple_of(ALIGNMENT);
    }
    read_memory(memory, &memory_tags, &mut info)?;
    Ok(info)
}

/// The tag at `at`, if it ends within the information.
fn tag(memory: &impl PhysRead, at: u64, end: u64) -> Result<Tag, Problem> {
    let word = |at| memory.u32(at).ok_or(Problem::Unreadable(at));
    let tag = Tag {
        at,
        kind: word(at)?,
        size: word(at + 4)?,
    };
    if tag.size < TAG_HEADER || at + u64::from(tag.size) > end {
        return Err(tag.problem());
    }
    Ok(tag)
}

fn read_tag(
    memory: &impl PhysRead,
    tag: Tag,
    info: &mut BootInfo,
    memory_tags: &mut MemoryTags,
) -> Result<(), Problem> {
    match tag.kind {
        kind::COMMAND_LINE => info.command_line = tag.text(memory, 8)?,
        kind::MODULE => {
            let module = Module {
                start: tag.u32(memory, 8)?.into(),
                end: tag.u32(memory, 12)?.into(),
                arguments: tag.text(memory, 16)?,
            };
            // Those beyond what we keep are left alone.
            let _ = info.modules.push(module);
        }
        kind::BASIC_MEMORY => memory_tags.basic = Some(tag),
        kind::MEMORY_MAP => memory_tags.map = Some(tag),
        kind::EFI_MEMORY_MAP => memory_tags.efi = Some(tag),
        kind::EFI32_SYSTEM_TABLE => info.efi_system_table = Some(tag.u32(memory, 8)?.into()),
        kind::EFI64_SYSTEM_TABLE => info.efi_system_table = Some(tag.u64(memory, 8)?),
        kind::NEW_ACPI => info.rsdp_copy = Some(tag.field(8, 36)?),
        kind::OLD_ACPI if info.rsdp_copy.is_none() => info.rsdp_copy = Some(tag.field(8, 20)?),
        kind::EFI_BOOT_SERVICES => return Err(Problem::BootServices),
        _ => {}
    }
    Ok(())
}

/// The BIOS's map, or else EFI's, or else the two sizes that every loader knows.
fn read_memory(
    memory: &impl PhysRead,
    tags: &MemoryTags,
    info: &mut BootInfo,
) -> Result<(), Problem> {
    if let Some(tag) = tags.map {
        let size = tag.u32(memory, 8)?;
        for entry in tag.entries(16, size, 24)? {
            let start = tag.u64(memory, entry)?;
            info.add_region(Region {
                start,
                end: start.saturating_add(tag.u64(memory, entry + 8)?),
                kind: Kind::from_e820(tag.u32(memory, entry + 16)?),
            });
        }
    } else if let Some(tag) = tags.efi {
        let size = tag.u32(memory, 8)?;
        for entry in tag.entries(16, size, 40)? {
            let start = tag.u64(memory, entry + 8)?;
            let pages = tag.u64(memory, entry + 24)?;
            info.add_region(Region {
                start,
                end: start.saturating_add(pages.saturating_mul(4096)),
                kind: Kind::from_efi(tag.u32(memory, entry)?),
            });
        }
    } else if let Some(tag) = tags.basic {
        let (lower, upper) = (tag.u32(memory, 8)?, tag.u32(memory, 12)?);
        for (start, kibibytes) in [(0, lower), (1 << 20, upper)] {
            info.add_region(Region {
                start,
                end: start + u64::from(kibibytes) * 1024,
                kind: Kind::Ram,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "multiboot2_tests.rs"]
mod tests;
