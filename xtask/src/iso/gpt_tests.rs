//! Tables of two partitions, made by hand.

use std::fs;
use std::path::PathBuf;

use super::{BLOCK, name, number, rename};

/// Blocks of the image: protective record, header, entries; entries and header again.
const BLOCKS: usize = 8;

fn header(entries_at: u64, entries: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[12..16].copy_from_slice(&92u32.to_le_bytes());
    header[32..40].copy_from_slice(&(BLOCKS as u64 - 1).to_le_bytes());
    header[72..80].copy_from_slice(&entries_at.to_le_bytes());
    header[80..84].copy_from_slice(&4u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
    let sum = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

fn image(test: &str) -> PathBuf {
    let block = usize::try_from(BLOCK).unwrap();
    let mut entries = vec![0; block];
    for (index, text) in ["Gap0", "Appended3"].into_iter().enumerate() {
        entries[index * 128 + 56..index * 128 + 128].copy_from_slice(&name(text).unwrap());
    }
    let mut bytes = vec![0; BLOCKS * block];
    for (at, entries_at) in [(1, 2), (BLOCKS - 1, BLOCKS - 2)] {
        let header = header(entries_at as u64, &entries);
        bytes[at * block..at * block + 92].copy_from_slice(&header);
        bytes[entries_at * block..(entries_at + 1) * block].copy_from_slice(&entries);
    }
    let file = std::env::temp_dir().join(format!("radon-gpt-{test}-{}", std::process::id()));
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn a_partition_gets_its_name_in_both_copies_and_the_sums_hold() {
    let file = image("renamed");
    rename(&file, "Appended3", "radon-data").unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    for (at, entries_at) in [(512, 1024), (7 * 512, 6 * 512)] {
        let mut header = bytes[at..at + 92].to_vec();
        let entries = &bytes[entries_at..entries_at + 512];
        assert_eq!(entries[128 + 56..256], name("radon-data").unwrap());
        assert_eq!(entries[56..128], name("Gap0").unwrap());
        let sums = (
            number(&header, 16, 4).unwrap(),
            number(&header, 88, 4).unwrap(),
        );
        header[16..20].fill(0);
        let expected = (crc32fast::hash(&header), crc32fast::hash(entries));
        assert_eq!(sums, (expected.0.into(), expected.1.into()));
    }
}

#[test]
fn without_such_a_partition_the_image_stays_as_it_is() {
    let file = image("untouched");
    let before = fs::read(&file).unwrap();
    assert!(rename(&file, "Appended4", "radon-data").is_err());
    assert_eq!(fs::read(&file).unwrap(), before);
    fs::write(&file, [0; 4096]).unwrap();
    assert!(rename(&file, "Appended3", "radon-data").is_err());
    fs::remove_file(&file).unwrap();
}
