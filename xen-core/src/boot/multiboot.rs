//! The Multiboot 1 information structure: command line, memory map, modules.
//!
//! Layout: Multiboot Specification 0.6.96, section 3.3. Everything is copied out, because the
//! structure lies in memory that will be handed out.

use heapless::{String, Vec};

use super::memory_map::{Kind, MAX_REGIONS, Region};
use super::phys::PhysRead;

/// Modules beyond these are left alone.
pub const MAX_MODULES: usize = 8;
/// The longest command line, the core's or a module's.
pub const MAX_TEXT: usize = 1024;

const FLAG_COMMAND_LINE: u32 = 1 << 2;
const FLAG_MODULES: u32 = 1 << 3;
const FLAG_MEMORY_MAP: u32 = 1 << 6;

/// A file that the loader put into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its first byte.
    pub start: u64,
    /// The byte behind its last.
    pub end: u64,
    /// What stood behind it on the loader's command line, file name included.
    pub text: String<MAX_TEXT>,
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

    /// Its arguments: the text without the file name.
    pub fn arguments(&self) -> &str {
        let text = self.text.trim_start();
        text.split_once(' ').map_or("", |(_, rest)| rest.trim())
    }
}

/// What the loader tells.
#[derive(Clone, Debug, Default)]
pub struct Info {
    /// The core's command line, file name included.
    pub command_line: String<MAX_TEXT>,
    /// The modules, in the loader's order.
    pub modules: Vec<Module, MAX_MODULES>,
    /// The memory map.
    pub regions: Vec<Region, MAX_REGIONS>,
}

/// Reads the structure at `at`; `None` if it is not in memory or has no memory map.
pub fn parse(memory: &impl PhysRead, at: u64) -> Option<Info> {
    let flags = memory.u32(at)?;
    let mut info = Info::default();
    if flags & FLAG_COMMAND_LINE != 0 {
        info.command_line = memory.text(memory.u32(at + 16)?.into());
    }
    if flags & FLAG_MODULES != 0 {
        let (count, table) = (memory.u32(at + 20)?, memory.u32(at + 24)?);
        info.modules = modules(memory, table.into(), count);
    }
    if flags & FLAG_MEMORY_MAP == 0 {
        return None;
    }
    let (length, table) = (memory.u32(at + 44)?, memory.u32(at + 48)?);
    info.regions = regions(memory, table.into(), length);
    Some(info)
}

/// Module records of 16 bytes: start, end, text, reserved.
fn modules(memory: &impl PhysRead, table: u64, count: u32) -> Vec<Module, MAX_MODULES> {
    (0..u64::from(count))
        .map_while(|index| {
            let record = table + 16 * index;
            Some(Module {
                start: memory.u32(record)?.into(),
                end: memory.u32(record + 4)?.into(),
                text: memory.text(memory.u32(record + 8)?.into()),
            })
        })
        .take(MAX_MODULES)
        .collect()
}

/// Memory-map records: a size that does not count itself, base, length, type.
fn regions(memory: &impl PhysRead, table: u64, length: u32) -> Vec<Region, MAX_REGIONS> {
    let end = table + u64::from(length);
    let mut at = table;
    let mut found = Vec::new();
    while at < end {
        let Some(region) = region(memory, at) else {
            break;
        };
        if found.push(region).is_err() {
            break;
        }
        let Some(size) = memory.u32(at).filter(|size| *size >= 20) else {
            break;
        };
        at += u64::from(size) + 4;
    }
    found
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
    use super::super::memory_map::Kind;
    use super::parse;

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
        assert_eq!(info.command_line, "core loglvl=all");
        assert_eq!(info.modules.len(), 1);
        assert_eq!(info.modules[0].len(), 0x1234);
        assert_eq!(info.modules[0].arguments(), "console=hvc0 x");
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
        assert!(parse(&memory, 0).is_none());
    }
}
