//! The four primary entries of a master boot record.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem::size_of;

use backends::host::{DiskError, SECTOR_SIZE};
use gpt_disk_types::{MasterBootRecord, MbrPartitionRecord};

use super::Partition;
use crate::storage::block::Bytes;

/// Kinds of entries that hold no data: none, extended ones, and the one that guards a GPT.
const NO_DATA: [u8; 5] = [0x00, 0x05, 0x0f, 0x85, 0xee];

/// The partitions of the table; none without one.
pub(super) async fn read(disk: &Bytes) -> Result<Vec<Partition>, DiskError> {
    if disk.len() < SECTOR_SIZE as u64 {
        return Ok(Vec::new());
    }
    let bytes = disk.read(0, size_of::<MasterBootRecord>()).await?;
    let record: MasterBootRecord = bytemuck::pod_read_unaligned(&bytes);
    // The first sector of a FAT or of a boot loader carries the same signature: what then
    // stands in the place of entries is hardly ever like this.
    let plausible = |entry: &MbrPartitionRecord| matches!(entry.boot_indicator, 0 | 0x80);
    if record.signature != [0x55, 0xaa] || !record.partitions.iter().all(plausible) {
        return Ok(Vec::new());
    }
    let scale = u64::from(disk.disk().geometry().sector_size.max(512)) / SECTOR_SIZE as u64;
    let entries = record.partitions.iter().zip(1..);
    Ok(entries
        .filter(|(entry, _)| !NO_DATA.contains(&entry.os_indicator))
        .map(|(entry, number)| {
            let start = u64::from(entry.starting_lba.to_u32()) * scale;
            let len = u64::from(entry.size_in_lba.to_u32()) * scale;
            Partition {
                number,
                name: String::new(),
                range: start..start + len,
            }
        })
        .collect())
}
