//! The Multiboot 1 information structure: command line, memory map, modules.
//!
//! Layout: Multiboot Specification 0.6.96, section 3.3. Texts begin with a file name, but for those
//! of GRUB 2, which leaves it out.

use heapless::{String, Vec};

use super::loader::{BootInfo, MAX_MODULES, MAX_TEXT, Module, Problem};
use super::memory_map::{Kind, Region};
use super::phys::PhysRead;

/// What the loader leaves in EAX.
pub const MAGIC: u32 = 0x2bad_b002;

const FLAG_COMMAND_LINE: u32 = 1 << 2;
const FLAG_MODULES: u32 = 1 << 3;
const FLAG_MEMORY_MAP: u32 = 1 << 6;
const FLAG_LOADER_NAME: u32 = 1 << 9;

/// Reads the structure at `at`.
///
/// # Errors
/// When it is not in memory.
pub fn parse(memory: &impl PhysRead, at: u64) -> Result<BootInfo, Problem> {
    copy_out(memory, at).ok_or(Problem::Unreadable(at))
}

fn copy_out(memory: &impl PhysRead, at: u64) -> Option<BootInfo> {
    let flags = memory.u32(at)?;
    let mut info = BootInfo::default();
    let named = flags & FLAG_LOADER_NAME == 0
        || !memory
            .text::<8>(memory.u32(at + 64)?.into())
            .starts_with("GRUB 2");
    if flags & FLAG_COMMAND_LINE != 0 {
        info.command_line = arguments(memory, memory.u32(at + 16)?, named);
    }
    if flags & FLAG_MODULES != 0 {
        let (count, table) = (memory.u32(at + 20)?, memory.u32(at + 24)?);
        info.modules = modules(memory, table.into(), count, named);
    }
    if flags & FLAG_MEMORY_MAP != 0 {
        let (length, table) = (memory.u32(at + 44)?, memory.u32(at + 48)?);
        read_regions(memory, table.into(), length, &mut info);
    }
    Some(info)
}

/// The text at `at`, without the file name if it begins with one.
fn arguments(memory: &impl PhysRead, at: u32, named: bool) -> String<MAX_TEXT> {
    let text = memory.text::<MAX_TEXT>(at.into());
    let rest = if named {
        text.trim_start()
            .split_once(' ')
            .map_or("", |(_, rest)| rest)
    } else {
        &text
    };
    // It is no longer than the text.
    String::try_from(rest.trim()).unwrap_or_default()
}

/// Module records of 16 bytes: start, end, text, reserved.
fn modules(
    memory: &impl PhysRead,
    table: u64,
    count: u32,
    named: bool,
) -> Vec<Module, MAX_MODULES> {
    (0..u64::from(count))
        .map_while(|index| {
            let record = table + 16 * index;
            Some(Module {
                start: memory.u32(record)?.into(),
                end: memory.u32(record + 4)?.into(),
                arguments: arguments(memory, memory.u32(record + 8)?, named),
            })
        })
        .take(MAX_MODULES)
        .collect()
}

/// Memory-map records: a size that does not count itself, base, length, type.
fn read_regions(memory: &impl PhysRead, table: u64, length: u32, info: &mut BootInfo) {
    let end = table + u64::from(length);
    let mut at = table;
    while at < end {
        let Some(region) = region(memory, at) else {
            break;
        };
        info.add_region(region);
        let Some(size) = memory.u32(at).filter(|size| *size >= 20) else {
            break;
        };
        at += u64::from(size) + 4;
    }
}

fn region(memory: &impl PhysRead, at: u64) -> Option<Region> {
    let start = memory.u64(at + 4)?;
    let length = memory.u64(at + 12)?;
    Some(Region {
        start,
        end: start.saturating_add(length),
        kind: Kind::from_e820(memory.u32(at + 20)?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::loader::{Problem, read};
    use super::super::memory_map::Kind;
    use super::{MAGIC, parse};

    fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn sample() -> Vec<u8> {
        let mut memory = vec![0; 4096];
        let words: [(usize, u32); 8] = [
            (0, 0x4c),
            (16, 200),
            (20, 1),
            (24, 300),
            (44, 48),
            (48, 400),
            (300, 0x20_0000),
            (304, 0x20_1234),
        ];
        for (at, value) in words {
            put(&mut memory, at, &value.to_le_bytes());
        }
        put(&mut memory, 308, &500u32.to_le_bytes());
        put(&mut memory, 200, b"core loglvl=all\0");
        put(&mut memory, 500, b"dom0.bin console=hvc0 x\0");
        for (at, base, kind) in [(400usize, 0u64, 1u32), (424, 0x10_0000, 2)] {
            put(&mut memory, at, &20u32.to_le_bytes());
            put(&mut memory, at + 4, &base.to_le_bytes());
            put(&mut memory, at + 12, &0x8_0000u64.to_le_bytes());
            put(&mut memory, at + 20, &kind.to_le_bytes());
        }
        memory
    }

    #[test]
    fn a_loaders_structure_is_copied_out() {
        let info = parse(&sample(), 0).unwrap();
        assert_eq!(info.command_line, "loglvl=all");
        assert_eq!(info.modules.len(), 1);
        assert_eq!(info.modules[0].len(), 0x1234);
        assert_eq!(info.modules[0].arguments, "console=hvc0 x");
        assert_eq!(info.regions.len(), 2);
        assert_eq!(info.regions[0].kind, Kind::Ram);
        assert_eq!(info.regions[1].kind, Kind::Reserved);
        assert_eq!(info.regions[1].end, 0x18_0000);
    }

    #[test]
    fn a_record_that_claims_no_size_ends_the_map() {
        let mut memory = sample();
        put(&mut memory, 400, &0u32.to_le_bytes());
        assert_eq!(parse(&memory, 0).unwrap().regions.len(), 1);
    }

    #[test]
    fn without_a_memory_map_there_is_no_boot() {
        let mut memory = sample();
        put(&mut memory, 0, &0x0cu32.to_le_bytes());
        assert_eq!(read(&memory, MAGIC, 0).unwrap_err(), Problem::NoMemoryMap);
    }

    #[test]
    fn grub_2_gives_no_file_names() {
        let mut memory = sample();
        put(&mut memory, 0, &0x24cu32.to_le_bytes());
        put(&mut memory, 64, &600u32.to_le_bytes());
        put(&mut memory, 600, b"GRUB 2.06-13\0");
        let info = parse(&memory, 0).unwrap();
        assert_eq!(info.command_line, "core loglvl=all");
        assert_eq!(info.modules[0].arguments, "dom0.bin console=hvc0 x");
    }
}
