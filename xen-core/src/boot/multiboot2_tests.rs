//! Hand-made lists of tags, good and malformed.

use super::super::loader::{BootInfo, Problem, read};
use super::super::memory_map::{Kind, Region};
use super::MAGIC;

/// Where the information lies in the tests' memory.
const AT: usize = 64;

/// Information with these tags (type, payload) and an end.
fn memory(tags: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; AT + 8];
    for (kind, payload) in tags.iter().chain(&[(0, Vec::new())]) {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(u32::try_from(8 + payload.len()).unwrap().to_le_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let size = u32::try_from(bytes.len() - AT).unwrap();
    bytes[AT..AT + 4].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A memory map of one entry: 1 MiB to 3 MiB.
fn map() -> (u32, Vec<u8>) {
    (6, words(&[24, 0, 0x10_0000, 0, 0x20_0000, 0, 1, 0]))
}

fn parse(tags: &[(u32, Vec<u8>)]) -> Result<BootInfo, Problem> {
    read(&memory(tags), MAGIC, AT as u64)
}

fn module(start: u32, end: u32, text: &[u8]) -> (u32, Vec<u8>) {
    let mut payload = words(&[start, end]);
    payload.extend(text);
    (3, payload)
}

#[test]
fn a_loaders_tags_are_copied_out() {
    let info = parse(&[
        (1, b"loglvl=all noreboot\0".to_vec()),
        (2, b"GRUB 2.06\0".to_vec()),
        module(0x40_0000, 0x40_1234, b"loglevel=info\0"),
        module(0x50_0000, 0x50_0010, b"\0"),
        map(),
        (8, vec![0; 32]),
        (12, words(&[0x7fee_d018, 0])),
        (14, vec![1; 20]),
        (15, vec![2; 36]),
    ])
    .unwrap();
    assert_eq!(info.command_line, "loglvl=all noreboot");
    assert_eq!(info.modules.len(), 2);
    assert_eq!(info.modules[0].len(), 0x1234);
    assert_eq!(info.modules[0].arguments, "loglevel=info");
    let ram = Region {
        start: 0x10_0000,
        end: 0x30_0000,
        kind: Kind::Ram,
    };
    assert_eq!(info.regions, [ram]);
    assert_eq!(info.efi_system_table, Some(0x7fee_d018));
    assert!(info.rsdp_copy.is_some());
}

#[test]
fn efis_map_serves_where_there_is_no_other() {
    let entry = |kind, start, pages| words(&[kind, 0, start, 0, 0, 0, pages, 0, 0xf, 0, 0, 0]);
    let mut efi = words(&[48, 1]);
    for (kind, start, pages) in [
        (7, 0x10_0000, 0x100),
        (4, 0x20_0000, 0x100),
        (9, 0x30_0000, 1),
    ] {
        efi.extend(entry(kind, start, pages));
    }
    let info = parse(&[(17, efi.clone())]).unwrap();
    let kinds: Vec<_> = info.regions.iter().map(|r| (r.end, r.kind)).collect();
    assert_eq!(
        kinds,
        [(0x30_0000, Kind::Ram), (0x30_1000, Kind::AcpiTables)]
    );
    // The other map wins, wherever it stands.
    assert_eq!(parse(&[(17, efi), map()]).unwrap().regions.len(), 1);
}

#[test]
fn two_sizes_are_better_than_nothing() {
    let info = parse(&[(4, words(&[639, 3072]))]).unwrap();
    let ends: Vec<_> = info.regions.iter().map(|region| region.end).collect();
    assert_eq!(ends, [639 << 10, 4 << 20]);
    assert_eq!(parse(&[]).unwrap_err(), Problem::NoMemoryMap);
}

#[test]
fn tags_that_are_too_short_for_what_they_are_are_refused() {
    for (kind, payload) in [
        (1, vec![]),
        (3, words(&[1])),
        (3, words(&[1, 2])),
        (4, words(&[1])),
        (6, words(&[24])),
        (6, words(&[0, 0, 0, 0, 0, 0, 0, 0])),
        (6, words(&[16, 0, 0, 0, 0, 0, 0, 0])),
        (12, words(&[1])),
        (15, vec![0; 20]),
    ] {
        let size = u32::try_from(8 + payload.len()).unwrap();
        let refused = parse(&[(kind, payload)]).unwrap_err();
        assert_eq!(refused, Problem::Tag { kind, size });
    }
}

#[test]
fn a_tag_must_end_within_the_information() {
    for claimed in [0, 7, 4096, u32::MAX] {
        let mut memory = memory(&[map()]);
        memory[AT + 12..AT + 16].copy_from_slice(&u32::to_le_bytes(claimed));
        let refused = read(&memory, MAGIC, AT as u64).unwrap_err();
        assert_eq!(
            refused,
            Problem::Tag {
                kind: 6,
                size: claimed
            }
        );
    }
    // Without an end the next tag lies beyond it.
    let mut endless = memory(&[map()]);
    endless.truncate(endless.len() - 8);
    assert!(read(&endless, MAGIC, AT as u64).is_err());
}

#[test]
fn information_of_an_absurd_size_or_place_is_refused() {
    for claimed in [0, 15, u32::MAX] {
        let mut memory = memory(&[map()]);
        memory[AT..AT + 4].copy_from_slice(&u32::to_le_bytes(claimed));
        let refused = read(&memory, MAGIC, AT as u64).unwrap_err();
        assert_eq!(refused, Problem::Size(claimed));
    }
    assert!(matches!(
        read(&memory(&[map()]), MAGIC, 4096),
        Err(Problem::Unreadable(4096))
    ));
}

#[test]
fn a_module_that_ends_before_it_starts_is_refused() {
    let refused = parse(&[map(), module(2, 1, b"\0")]).unwrap_err();
    assert_eq!(refused, Problem::Module { start: 2, end: 1 });
}

#[test]
fn boot_services_left_running_are_refused() {
    assert_eq!(
        parse(&[map(), (18, vec![])]).unwrap_err(),
        Problem::BootServices
    );
}
