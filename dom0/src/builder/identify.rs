//! What a file is that isn't a kernel for this: so that the refusal helps.

use core::fmt;

use super::decompress::Format;

/// Kinds of files that people give in place of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing at all.
    Empty,
    /// Linux, built without the option.
    LinuxWithoutXen,
    /// Linux from before its boot header told where it is.
    OldLinux,
    /// An ELF that a boot loader starts on bare metal.
    Multiboot,
    /// An ELF for 32-bit machines.
    Elf32,
    /// An ELF for another kind of CPU.
    ElfForeign,
    /// Another ELF file: a program, perhaps.
    Elf,
    /// An EFI program.
    Efi,
    /// Packed data.
    Packed(Format),
    /// A ramdisk.
    Cpio,
    /// An image of a disk or a file system.
    Disk,
    /// Text.
    Text,
    /// Who knows.
    Unknown,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty file",
            Self::LinuxWithoutXen => "a Linux kernel without CONFIG_XEN_PV",
            Self::OldLinux => "a Linux kernel from before 2.6.24",
            Self::Multiboot => "a multiboot ELF",
            Self::Elf32 => "a 32-bit ELF",
            Self::ElfForeign => "an ELF for another kind of CPU",
            Self::Elf => "an ELF file without Xen notes",
            Self::Efi => "an EFI program",
            Self::Packed(format) => return write!(f, "a {format} file with something else in it"),
            Self::Cpio => "a ramdisk (cpio archive)",
            Self::Disk => "a disk image",
            Self::Text => "a text file",
            Self::Unknown => "data of no known kind",
        })
    }
}

impl Kind {
    /// What the user can do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::LinuxWithoutXen | Self::OldLinux => {
                "use a kernel built with CONFIG_XEN_PV, such as Debian's linux-image-amd64"
            }
            Self::Cpio => "give it as `ramdisk`, and a kernel as `kernel`",
            Self::Disk => "give the kernel file itself as `kernel`",
            _ => "give a 64-bit kernel with Xen notes",
        }
    }
}

/// Says what an unpacked file is, if it isn't a kernel for this.
#[must_use]
pub fn identify(bytes: &[u8]) -> Kind {
    let at = |offset: usize, magic: &[u8]| {
        bytes
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    let contains = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    match () {
        () if bytes.is_empty() => Kind::Empty,
        // Hypervisors and hobby kernels are often 32-bit files of 64-bit code: what starts them
        // says more than their class.
        () if at(0, b"\x7fELF") && has_multiboot_header(bytes) => Kind::Multiboot,
        () if at(0, b"\x7fELF") => match (bytes.get(4), bytes.get(18)) {
            (Some(1), _) => Kind::Elf32,
            (_, machine) if machine != Some(&62) => Kind::ElfForeign,
            _ if contains(b"Linux version ") => Kind::LinuxWithoutXen,
            _ => Kind::Elf,
        },
        () if at(0, b"070701") || at(0, b"070702") || at(0, b"\xc7\x71") => Kind::Cpio,
        () if is_disk(&at) => Kind::Disk,
        () if at(0, b"MZ") => Kind::Efi,
        () => match Format::detect(bytes) {
            Some(format) => Kind::Packed(format),
            None if is_text(bytes) => Kind::Text,
            None => Kind::Unknown,
        },
    }
}

/// A Multiboot header lies, aligned, in the first 8 KiB (32 KiB for Multiboot 2).
fn has_multiboot_header(bytes: &[u8]) -> bool {
    let words = bytes.chunks_exact(4).take(8192);
    words.enumerate().any(|(index, word)| match word {
        [0x02, 0xb0, 0xad, 0x1b] => index < 2048,
        [0xd6, 0x50, 0x52, 0xe8] => index % 2 == 0,
        _ => false,
    })
}

fn is_disk(at: &impl Fn(usize, &[u8]) -> bool) -> bool {
    let magics: [(usize, &[u8]); 8] = [
        (510, b"\x55\xaa"),
        (0, b"QFI\xfb"),
        (0, b"KDMV"),
        (0, b"conectix"),
        (0, b"hsqs"),
        (1080, b"\x53\xef"),
        (512, b"EFI PART"),
        (0x8001, b"CD001"),
    ];
    magics.iter().any(|(offset, magic)| at(*offset, magic))
}

fn is_text(bytes: &[u8]) -> bool {
    let start = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
    let printable =
        |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    start.iter().all(printable)
}
