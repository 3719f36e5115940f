//! What a loader tells, whichever protocol it speaks.
//!
//! Everything is copied out, because it lies in memory that will be handed out.

use core::fmt;

use heapless::{String, Vec};

use super::memory_map::{MAX_REGIONS, Region};
use super::phys::PhysRead;
use super::{multiboot, multiboot2};

/// Modules beyond these are left alone.
pub const MAX_MODULES: usize = 8;
/// The longest command line, the core's or a module's.
pub const MAX_TEXT: usize = 1024;

/// A file that the loader put into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its first byte.
    pub start: u64,
    /// The byte behind its last.
    pub end: u64,
    /// What stood behind its file name on the loader's command line.
    pub arguments: String<MAX_TEXT>,
}

impl Module {
    /// Its size in bytes.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds no byte.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the loader tells.
#[derive(Clone, Debug, Default)]
pub struct BootInfo {
    /// The core's command line, without a file name.
    pub command_line: String<MAX_TEXT>,
    /// The modules, in the loader's order.
    pub modules: Vec<Module, MAX_MODULES>,
    /// The memory map.
    pub regions: Vec<Region, MAX_REGIONS>,
    /// Where EFI's system table lies, on a machine with that firmware.
    pub efi_system_table: Option<u64>,
    /// Where the loader has put a copy of ACPI's root pointer.
    pub rsdp_copy: Option<u64>,
}

impl BootInfo {
    /// Adds to the memory map. What continues the region before it becomes one with it; a region
    /// too many is left out.
    pub(super) fn add_region(&mut self, region: Region) {
        match self.regions.last_mut() {
            Some(last) if last.end == region.start && last.kind == region.kind => {
                last.end = region.end;
            }
            _ => {
                let _ = self.regions.push(region);
            }
        }
    }
}

/// What is wrong with what the loader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// This is no protocol's magic number.
    Protocol(u32),
    /// Something that it points at is not in memory.
    Unreadable(u64),
    /// The information claims this size.
    Size(u32),
    /// A tag of this type claims a size that does not fit it, or what is left.
    Tag {
        /// Its type.
        kind: u32,
        /// What it claims.
        size: u32,
    },
    /// A module ends before it starts.
    Module {
        /// Its first byte.
        start: u64,
        /// The byte behind its last, as told.
        end: u64,
    },
    /// It has left the firmware's boot services running.
    BootServices,
    /// There is no memory map.
    NoMemoryMap,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(magic) => write!(f, "magic number {magic:#x} is not Multiboot's"),
            Self::Unreadable(at) => write!(f, "it points at {at:#x}, where no memory is"),
            Self::Size(size) => write!(f, "its information claims to be {size} bytes long"),
            Self::Tag { kind, size } => write!(f, "its tag of type {kind} claims {size} bytes"),
            Self::Module { start, end } => {
                write!(f, "its module at {start:#x} ends at {end:#x}")
            }
            Self::BootServices => f.write_str("it left EFI's boot services running"),
            Self::NoMemoryMap => f.write_str("it gave no memory map"),
        }
    }
}

/// Reads what the loader left at `at`, by the protocol that `magic` stands for.
///
/// # Errors
/// What is wrong with it.
pub fn read(memory: &impl PhysRead, magic: u32, at: u64) -> Result<BootInfo, Problem> {
    let info = match magic {
        multiboot::MAGIC => multiboot::parse(memory, at)?,
        multiboot2::MAGIC => multiboot2::parse(memory, at)?,
        other => return Err(Problem::Protocol(other)),
    };
    if info.regions.is_empty() {
        return Err(Problem::NoMemoryMap);
    }
    match info.modules.iter().find(|module| module.end < module.start) {
        Some(&Module { start, end, .. }) => Err(Problem::Module { start, end }),
        None => Ok(info),
    }
}

#[cfg(test)]
mod tests {
    use super::{BootInfo, Problem, read};
    use crate::boot::memory_map::{Kind, Region};

    #[test]
    fn regions_that_continue_each_other_are_one() {
        let mut info = BootInfo::default();
        for (start, end, kind) in [
            (0, 1, Kind::Ram),
            (1, 4, Kind::Ram),
            (4, 5, Kind::Reserved),
            (6, 7, Kind::Reserved),
        ] {
            info.add_region(Region { start, end, kind });
        }
        let ends: Vec<_> = info.regions.iter().map(|region| region.end).collect();
        assert_eq!(ends, [4, 5, 7]);
    }

    #[test]
    fn a_loader_of_another_protocol_is_refused() {
        let refused = read(&vec![0; 64], 7, 0).unwrap_err();
        assert_eq!(refused, Problem::Protocol(7));
        assert_eq!(refused.to_string(), "magic number 0x7 is not Multiboot's");
    }
}
