//! A kernel image, unpacked and understood.
//!
//! 1. A bzImage holds a packed ELF behind code for bare metal, which is ignored here.
//! 2. Packed files are unpacked: see [`decompress`](super::decompress).
//! 3. The ELF's notes say where the kernel starts and what it wants; that it speaks Xen's ABI at
//!    all is what having such notes means.
//!
//! The file is a stranger's: every number in it is checked before it is used.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::fmt;
use core::ops::Range;

use elf::abi::{EM_X86_64, PT_LOAD, PT_NOTE, SHT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::note::Note;
use elf::segment::ProgramHeader;
use elf::{ElfBytes, ParseError};
use guest_abi::GuestVirtAddr;
use guest_abi::elfnote::{ElfNote, OWNER};

use super::bzimage;
use super::decompress::{DecompressError, Format, decompress};
use super::identify::{Kind, identify};
use crate::executor::Runtime;

/// Longest kernel that is unpacked.
const MAX_UNPACKED: usize = 512 << 20;

/// Why a file can't be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// It ends before it should.
    Truncated(&'static str),
    /// Its bytes contradict each other.
    Corrupt(&'static str),
    /// What it is packed with can't be unpacked.
    Packed(Format, DecompressError),
    /// It isn't a kernel for this, but something else.
    NotCapable(Kind),
    /// It wants something that no 64-bit guest gets.
    Demands(&'static str),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(part) => {
                write!(f, "truncated: it ends within {part}; copy the file again")
            }
            Self::Corrupt(part) => {
                write!(f, "corrupt: {part} makes no sense; copy the file again")
            }
            Self::Packed(format, error) => match error {
                DecompressError::Truncated | DecompressError::Corrupt => {
                    write!(
                        f,
                        "{error}: its {format} payload breaks off or fails its checks; copy the file again"
                    )
                }
                DecompressError::Unsupported => {
                    write!(
                        f,
                        "packed with {format}, which can't be unpacked here; pack it with gzip, xz, zstd or lz4"
                    )
                }
                _ => write!(
                    f,
                    "its {format} payload is {error}; raise dom0_mem, or use a smaller kernel"
                ),
            },
            Self::NotCapable(kind) => {
                write!(
                    f,
                    "not a PV-capable kernel: it is {kind}; {}",
                    kind.remedy()
                )
            }
            Self::Demands(feature) => {
                write!(
                    f,
                    "it demands `{feature}`, which no 64-bit PV guest gets; use another kernel"
                )
            }
        }
    }
}

impl core::error::Error for KernelError {}

/// A part of the file and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Pseudo-physical address of its first byte.
    pub address: u64,
    /// Its bytes in [`Kernel::image`]; what follows them in memory is zero.
    pub bytes: Range<usize>,
}

/// A kernel ready to be loaded.
#[derive(Debug)]
pub struct Kernel<'a> {
    /// The ELF file.
    pub image: Cow<'a, [u8]>,
    /// What to load.
    pub segments: Vec<Segment>,
    /// The lowest pseudo-physical address used.
    pub start: u64,
    /// The first one above.
    pub end: u64,
    /// Where it starts.
    pub entry: GuestVirtAddr,
    /// Where pfn 0 is mapped.
    pub virt_base: GuestVirtAddr,
    /// Where it wants its p2m list.
    pub init_p2m: Option<GuestVirtAddr>,
    /// Its ramdisk need not be mapped.
    pub mod_start_pfn: bool,
    /// A page of its own that it wants filled with hypercall stubs, by pseudo-physical address.
    pub hypercall_page: Option<u64>,
    /// What it says it is.
    pub guest_os: String,
}

impl<'a> Kernel<'a> {
    /// Unpacks and reads a kernel file.
    ///
    /// # Errors
    ///
    /// Why it can't be booted, in words for the user.
    pub async fn read(runtime: &Runtime, file: &'a [u8]) -> Result<Self, KernelError> {
        let packed = if bzimage::is_bzimage(file) {
            bzimage::payload(file)?
        } else {
            file
        };
        let image = match Format::detect(packed) {
            Some(format) => {
                let expected = bzimage::expected_length(packed);
                let unpacked = decompress(runtime, format, packed, expected, MAX_UNPACKED).await;
                Cow::Owned(unpacked.map_err(|error| KernelError::Packed(format, error))?)
            }
            None => Cow::Borrowed(packed),
        };
        Self::parse(image)
    }

    /// Reads an unpacked kernel.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(image: Cow<'a, [u8]>) -> Result<Self, KernelError> {
        let notes = match Notes::read(&image) {
            Ok(notes) => notes,
            Err(Unfit::NotForUs) => return Err(KernelError::NotCapable(identify(&image))),
            Err(Unfit::Broken(error)) => return Err(error),
        };
        if let Some(feature) = notes.demanded_feature() {
            return Err(KernelError::Demands(feature));
        }
        let offset = notes.paddr_offset;
        let (segments, end) = segments(&image, offset)?;
        let start = segments
            .iter()
            .map(|segment| segment.address)
            .min()
            .unwrap_or(0);
        let virt_base = notes.virt_base;
        let hypercall_page = match notes.hypercall_page {
            Some(address) => {
                let page = address.wrapping_sub(virt_base);
                if page % 4096 != 0 || page < start || page.saturating_add(4096) > end {
                    return Err(KernelError::Corrupt("the HYPERCALL_PAGE note"));
                }
                Some(page)
            }
            None => None,
        };
        Ok(Self {
            segments,
            start,
            end,
            entry: GuestVirtAddr::new(notes.entry),
            virt_base: GuestVirtAddr::new(virt_base),
            init_p2m: notes.init_p2m.map(GuestVirtAddr::new),
            mod_start_pfn: notes.mod_start_pfn,
            hypercall_page,
            guest_os: notes.guest_os,
            image,
        })
    }
}

/// Why an image isn't taken.
enum Unfit {
    /// It may be well formed, but it isn't a kernel for this ABI.
    NotForUs,
    Broken(KernelError),
}

/// What the notes say.
struct Notes {
    entry: u64,
    virt_base: u64,
    paddr_offset: u64,
    init_p2m: Option<u64>,
    hypercall_page: Option<u64>,
    mod_start_pfn: bool,
    features: String,
    guest_os: String,
}

impl Notes {
    fn read(image: &[u8]) -> Result<Self, Unfit> {
        let file = ElfBytes::<LittleEndian>::minimal_parse(image).map_err(|error| match error {
            // The headers point behind the end: an ELF, but not all of it.
            ParseError::SliceReadError(_) if image.starts_with(b"\x7fELF") => {
                Unfit::Broken(KernelError::Truncated("the ELF file"))
            }
            _ => Unfit::NotForUs,
        })?;
        if file.ehdr.class != Class::ELF64 || file.ehdr.e_machine != EM_X86_64 {
            return Err(Unfit::NotForUs);
        }
        let mut notes = Self {
            entry: file.ehdr.e_entry,
            virt_base: 0,
            paddr_offset: 0,
            init_p2m: None,
            hypercall_page: None,
            mod_start_pfn: false,
            features: String::new(),
            guest_os: String::new(),
        };
        let mut found = false;
        let segments = file.segments().into_iter().flatten();
        for header in segments.filter(|header| header.p_type == PT_NOTE) {
            let list = file
                .segment_data_as_notes(&header)
                .map_err(|_| Unfit::Broken(KernelError::Truncated("the ELF file's notes")))?;
            found |= notes.take_all(list);
        }
        if !found {
            let sections = file.section_headers().into_iter().flatten();
            for header in sections.filter(|header| header.sh_type == SHT_NOTE) {
                let list = file
                    .section_data_as_notes(&header)
                    .map_err(|_| Unfit::NotForUs)?;
                found |= notes.take_all(list);
            }
        }
        if found {
            Ok(notes)
        } else {
            Err(Unfit::NotForUs)
        }
    }

    fn take_all<'a>(&mut self, list: impl Iterator<Item = Note<'a>>) -> bool {
        let mut found = false;
        for note in list {
            let Note::Unknown(note) = note else { continue };
            if note.name.strip_suffix(b"\0").unwrap_or(note.name) == OWNER {
                found = true;
                if let Ok(kind) = u32::try_from(note.n_type) {
                    self.take(kind, note.desc);
                }
            }
        }
        found
    }

    fn take(&mut self, kind: u32, value: &[u8]) {
        match ElfNote::from_number(kind) {
            Some(ElfNote::Entry) => self.entry = number(value),
            Some(ElfNote::VirtBase) => self.virt_base = number(value),
            Some(ElfNote::PaddrOffset) => self.paddr_offset = number(value),
            Some(ElfNote::InitP2m) => self.init_p2m = Some(number(value)),
            Some(ElfNote::HypercallPage) => self.hypercall_page = Some(number(value)),
            Some(ElfNote::ModStartPfn) => self.mod_start_pfn = number(value) != 0,
            Some(ElfNote::Features) => self.features = text(value),
            Some(ElfNote::GuestOs) => self.guest_os = text(value),
            _ => {}
        }
    }

    /// A feature marked as needed that only other kinds of guests have.
    fn demanded_feature(&self) -> Option<&'static str> {
        let demanded = |feature: &&str| {
            self.features
                .split('|')
                .any(|name| name.strip_prefix('!') == Some(*feature))
        };
        ["auto_translated_physmap", "supervisor_mode_kernel"]
            .into_iter()
            .find(demanded)
    }
}

/// A note's number, of four or eight bytes.
fn number(value: &[u8]) -> u64 {
    match (value.first_chunk(), value.first_chunk()) {
        (Some(bytes), _) => u64::from_le_bytes(*bytes),
        (None, Some(bytes)) => u64::from(u32::from_le_bytes(*bytes)),
        (None, None) => 0,
    }
}

fn text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// What is to be loaded, and the first address above it all.
fn segments(image: &[u8], offset: u64) -> Result<(Vec<Segment>, u64), KernelError> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(image)
        .map_err(|_| KernelError::Corrupt("the ELF header"))?;
    let mut all = Vec::new();
    let mut end = 0;
    let headers = file.segments().into_iter().flatten();
    for header in headers.filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0) {
        let (segment, above) = segment(image, &header, offset)?;
        end = end.max(above);
        all.push(segment);
    }
    if all.is_empty() {
        return Err(KernelError::Corrupt("the list of segments"));
    }
    Ok((all, end))
}

fn segment(
    image: &[u8],
    header: &ProgramHeader,
    offset: u64,
) -> Result<(Segment, u64), KernelError> {
    let corrupt = KernelError::Corrupt("a segment's header");
    let address = header.p_paddr.checked_sub(offset).ok_or(corrupt)?;
    let above = address.checked_add(header.p_memsz).ok_or(corrupt)?;
    if header.p_filesz > header.p_memsz {
        return Err(corrupt);
    }
    let start = usize::try_from(header.p_offset).map_err(|_| corrupt)?;
    let length = usize::try_from(header.p_filesz).map_err(|_| corrupt)?;
    let end = start.checked_add(length).ok_or(corrupt)?;
    if end > image.len() {
        return Err(KernelError::Truncated("the ELF file"));
    }
    Ok((
        Segment {
            address,
            bytes: start..end,
        },
        above,
    ))
}
