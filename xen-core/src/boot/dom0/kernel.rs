//! dom0's kernel image: a 64-bit ELF whose Xen notes say how it wants to be started.

use core::fmt;

use elf::ElfBytes;
use elf::abi::{EM_X86_64, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::note::Note;
use guest_abi::elfnote::{ElfNote, OWNER};
use guest_abi::frame::GuestVirtAddr;

/// Why an image cannot be dom0's kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// The file is no ELF image, or a damaged one.
    NotElf,
    /// It is ELF, but not for 64-bit x86.
    WrongMachine,
    /// It has nothing to load.
    Empty,
    /// A segment's bytes lie outside the file, or its addresses overflow.
    BadSegment,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotElf => "the first module is no ELF image (a bzImage must be unpacked first)",
            Self::WrongMachine => "the first module is not for 64-bit x86",
            Self::Empty => "the first module has no loadable segment",
            Self::BadSegment => "the first module is truncated or damaged",
        })
    }
}

/// A stretch of the image and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Guest-physical address, the kernel's offset taken off.
    pub paddr: u64,
    /// What the file holds of it; the rest is zeros.
    pub bytes: &'a [u8],
    /// Its length in memory.
    pub len: u64,
}

/// What the notes say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wishes {
    /// The first instruction.
    pub entry: Option<GuestVirtAddr>,
    /// Where pfn 0 is to be mapped.
    pub virt_base: Option<GuestVirtAddr>,
    /// What `p_paddr` is offset by.
    pub paddr_offset: u64,
    /// Where the p2m list is to be mapped.
    pub init_p2m: Option<GuestVirtAddr>,
    /// Whether the ramdisk may be handed over unmapped, by pfn.
    pub ramdisk_by_pfn: bool,
}

/// A parsed image.
#[derive(Debug)]
pub struct Kernel<'a> {
    file: ElfBytes<'a, LittleEndian>,
    /// What its notes say.
    pub wishes: Wishes,
}

impl<'a> Kernel<'a> {
    /// Reads headers and notes; the segments are checked as they are asked for.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn parse(image: &'a [u8]) -> Result<Self, ImageError> {
        let file =
            ElfBytes::<LittleEndian>::minimal_parse(image).map_err(|_| ImageError::NotElf)?;
        if file.ehdr.e_machine != EM_X86_64 {
            return Err(ImageError::WrongMachine);
        }
        let wishes = read_notes(&file)?;
        Ok(Self { file, wishes })
    }

    /// The first instruction: as the notes say, else as the ELF header does.
    pub fn entry(&self) -> GuestVirtAddr {
        self.wishes
            .entry
            .unwrap_or(GuestVirtAddr::new(self.file.ehdr.e_entry))
    }

    /// The loadable segments.
    ///
    /// # Errors
    /// [`ImageError::BadSegment`] in place of one that cannot be loaded.
    pub fn segments(&self) -> impl Iterator<Item = Result<Segment<'a>, ImageError>> + '_ {
        let headers = self.file.segments().into_iter().flatten();
        headers
            .filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0)
            .map(|header| {
                let paddr = header.p_paddr.checked_sub(self.wishes.paddr_offset);
                let bytes = self.file.segment_data(&header);
                match (paddr, bytes) {
                    (Some(paddr), Ok(bytes)) if header.p_filesz <= header.p_memsz => Ok(Segment {
                        paddr,
                        bytes,
                        len: header.p_memsz,
                    }),
                    _ => Err(ImageError::BadSegment),
                }
            })
    }

    /// The lowest guest-physical address and the one past the highest.
    ///
    /// # Errors
    /// [`ImageError::Empty`] without segments, [`ImageError::BadSegment`] when one overflows.
    pub fn span(&self) -> Result<(u64, u64), ImageError> {
        let mut span: Option<(u64, u64)> = None;
        for segment in self.segments() {
            let segment = segment?;
            let end = segment
                .paddr
                .checked_add(segment.len)
                .ok_or(ImageError::BadSegment)?;
            span = Some(span.map_or((segment.paddr, end), |(low, high)| {
                (low.min(segment.paddr), high.max(end))
            }));
        }
        span.ok_or(ImageError::Empty)
    }
}

fn read_notes(file: &ElfBytes<'_, LittleEndian>) -> Result<Wishes, ImageError> {
    let mut wishes = Wishes::default();
    let segments = file.segments().ok_or(ImageError::Empty)?;
    for header in segments.iter().filter(|header| header.p_type == PT_NOTE) {
        let notes = file
            .segment_data_as_notes(&header)
            .map_err(|_| ImageError::BadSegment)?;
        for note in notes {
            if let Note::Unknown(note) = note
                && note.name.strip_suffix(b"\0").unwrap_or(note.name) == OWNER
            {
                wishes.take(note.n_type, note.desc);
            }
        }
    }
    Ok(wishes)
}

impl Wishes {
    /// Takes one note in; those that do not matter to a builder are passed over.
    fn take(&mut self, kind: u64, desc: &[u8]) {
        let kind = u32::try_from(kind).ok().and_then(ElfNote::from_number);
        let number = number(desc);
        let address = number.map(GuestVirtAddr::new);
        match kind {
            Some(ElfNote::Entry) => self.entry = address,
            Some(ElfNote::VirtBase) => self.virt_base = address,
            Some(ElfNote::PaddrOffset) => self.paddr_offset = number.unwrap_or(0),
            Some(ElfNote::InitP2m) => self.init_p2m = address,
            Some(ElfNote::ModStartPfn) => self.ramdisk_by_pfn = number == Some(1),
            _ => {}
        }
    }
}

/// A note's number, which takes four bytes or eight.
fn number(desc: &[u8]) -> Option<u64> {
    match *desc {
        [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d]).into()),
        _ => desc.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::{ImageError, Kernel, Wishes, number};

    #[test]
    fn notes_hold_numbers_of_four_or_eight_bytes() {
        assert_eq!(number(&[1, 0, 0, 0]), Some(1));
        assert_eq!(number(&[0, 0, 0, 0, 1, 0, 0, 0]), Some(1 << 32));
        assert_eq!(number(b"ab"), None);
    }

    #[test]
    fn a_file_that_is_no_elf_is_refused() {
        assert_eq!(Kernel::parse(b"MZ").err(), Some(ImageError::NotElf));
        assert_eq!(Kernel::parse(b"").err(), Some(ImageError::NotElf));
    }

    #[test]
    fn unknown_notes_are_passed_over() {
        let mut wishes = Wishes::default();
        wishes.take(999, &[1, 2, 3, 4]);
        assert_eq!(wishes, Wishes::default());
    }
}
