//! Tables made by hand, whole and damaged.

use std::rc::Rc;

use backends::host::Disk;
use backends::host::fake::{FakeDisk, FakeHost};
use gpt_disk_types::{
    GptHeader, GptPartitionEntry, GptPartitionType, LbaLe, MasterBootRecord, MbrPartitionRecord,
    U32Le, guid,
};

use super::Partition;
use crate::executor::Runtime;
use crate::executor::tests::FakePlatform;
use crate::storage::block::Bytes;

const UNUSED: GptPartitionEntry = GptPartitionEntry {
    partition_type_guid: GptPartitionType::UNUSED,
    unique_partition_guid: guid!("00000000-0000-0000-0000-000000000000"),
    starting_lba: LbaLe::from_u64(0),
    ending_lba: LbaLe::from_u64(0),
    attributes: gpt_disk_types::GptPartitionAttributes(gpt_disk_types::U64Le([0; 8])),
    name: gpt_disk_types::GptPartitionName([0; 72]),
};

/// Writes a GPT in both copies. Blocks are the disk's own sectors; an entry without a name is
/// left unused.
pub(crate) fn write_gpt(disk: &FakeDisk, entries: &[(&str, u64, u64)]) {
    let geometry = disk.geometry();
    let unit = geometry.sector_size as usize;
    let blocks = geometry.sectors * 512 / u64::from(geometry.sector_size);
    let mut table = Vec::new();
    for &(name, first, last) in entries {
        let mut entry = UNUSED;
        if !name.is_empty() {
            entry.partition_type_guid = GptPartitionType::BASIC_DATA;
            entry.starting_lba = LbaLe::from_u64(first);
            entry.ending_lba = LbaLe::from_u64(last);
            entry.name = name.parse().unwrap();
        }
        table.extend_from_slice(bytemuck::bytes_of(&entry));
    }
    for (block, other, at) in [(1, blocks - 1, 2), (blocks - 1, 1, blocks - 8)] {
        let mut header = GptHeader {
            my_lba: LbaLe::from_u64(block),
            alternate_lba: LbaLe::from_u64(other),
            partition_entry_lba: LbaLe::from_u64(at),
            number_of_partition_entries: U32Le::from_u32(entries.len().try_into().unwrap()),
            ..GptHeader::default()
        };
        header.partition_entry_array_crc32.0.0 = crc32fast::hash(&table).to_le_bytes();
        header.update_header_crc32();
        disk.with_bytes(|bytes| {
            let mut put = |block: u64, from: &[u8]| {
                let start = usize::try_from(block).unwrap() * unit;
                bytes[start..start + from.len()].copy_from_slice(from);
            };
            put(block, bytemuck::bytes_of(&header));
            put(at, &table);
        });
    }
}

fn read(disk: &FakeDisk) -> Vec<Partition> {
    let bytes = Bytes::new(Rc::new(disk.clone()), FakeHost::new());
    Runtime::new(FakePlatform::default())
        .block_on(async move { super::read(&bytes).await })
        .unwrap()
}

fn partition(number: u32, name: &str, range: std::ops::Range<u64>) -> Partition {
    Partition {
        number,
        name: name.into(),
        range,
    }
}

#[test]
fn partitions_keep_their_numbers_and_names() {
    let disk = FakeDisk::new(2048);
    write_gpt(&disk, &[("boot", 64, 127), ("", 0, 0), ("data", 128, 1000)]);
    let expected = [
        partition(1, "boot", 64..128),
        partition(3, "data", 128..1001),
    ];
    assert_eq!(read(&disk), expected);
}

#[test]
fn a_disk_of_large_sectors_counts_in_them() {
    let disk = FakeDisk::new(8192).with_geometry(|geometry| geometry.sector_size = 4096);
    write_gpt(&disk, &[("data", 10, 19)]);
    assert_eq!(read(&disk), [partition(1, "data", 80..160)]);
}

#[test]
fn the_second_copy_stands_in_for_a_damaged_first() {
    let disk = FakeDisk::new(2048);
    write_gpt(&disk, &[("data", 64, 127)]);
    disk.with_bytes(|bytes| bytes[512 + 40] ^= 1);
    assert_eq!(read(&disk), [partition(1, "data", 64..128)]);
    // The entries of the first copy: the header is whole, what it points to is not.
    write_gpt(&disk, &[("data", 64, 127)]);
    disk.with_bytes(|bytes| bytes[1024 + 33] ^= 1);
    assert_eq!(read(&disk), [partition(1, "data", 64..128)]);
}

#[test]
fn an_entry_beyond_the_disk_is_left_out() {
    let disk = FakeDisk::new(2048);
    let far = u64::MAX;
    write_gpt(&disk, &[("a", 64, 4096), ("b", 100, 50), ("c", 9, far)]);
    assert_eq!(read(&disk), []);
}

#[test]
fn a_master_boot_record_has_four_partitions() {
    let disk = FakeDisk::new(2048);
    let mut record = MasterBootRecord::protective_mbr(2048);
    record.partitions[1] = MbrPartitionRecord {
        boot_indicator: 0x80,
        os_indicator: 0x83,
        starting_lba: U32Le::from_u32(100),
        size_in_lba: U32Le::from_u32(50),
        ..record.partitions[0]
    };
    disk.with_bytes(|bytes| bytes[..512].copy_from_slice(bytemuck::bytes_of(&record)));
    assert_eq!(read(&disk), [partition(2, "", 100..150)]);
}

#[test]
fn a_disk_without_a_table_has_no_partitions() {
    assert_eq!(read(&FakeDisk::new(2048)), []);
    assert_eq!(read(&FakeDisk::new(1)), []);
    let noise = FakeDisk::new(64);
    noise.with_bytes(|bytes| bytes.fill(0xff));
    assert_eq!(read(&noise), []);
}
