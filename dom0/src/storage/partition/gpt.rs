//! The GUID partition table.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::mem::size_of;

use backends::host::{DiskError, SECTOR_SIZE};
use gpt_disk_types::{GptHeader, GptPartitionEntry};

use super::Partition;
use crate::storage::block::Bytes;

/// Most bytes of a table of entries: eight times the usual.
const MAX_ENTRIES: usize = 128 << 10;

/// The partitions of the table, if there is a valid one.
pub(super) async fn read(disk: &Bytes) -> Result<Option<Vec<Partition>>, DiskError> {
    let unit = u64::from(disk.disk().geometry().sector_size.max(512));
    let blocks = disk.len() / unit;
    for block in [1, blocks.saturating_sub(1)] {
        if block == 0 || block >= blocks {
            continue;
        }
        if let Some(partitions) = read_copy(disk, unit, block).await? {
            return Ok(Some(partitions));
        }
    }
    Ok(None)
}

/// One of the two copies, whose header is at `block`.
async fn read_copy(
    disk: &Bytes,
    unit: u64,
    block: u64,
) -> Result<Option<Vec<Partition>>, DiskError> {
    let bytes = disk.read(block * unit, size_of::<GptHeader>()).await?;
    let header: GptHeader = bytemuck::pod_read_unaligned(&bytes);
    let entry_size = usize::try_from(header.size_of_partition_entry.to_u32()).unwrap_or(0);
    let count = usize::try_from(header.number_of_partition_entries.to_u32()).unwrap_or(0);
    let size = entry_size.saturating_mul(count);
    if !header.is_signature_valid()
        || header.calculate_header_crc32() != header.header_crc32
        || header.my_lba.to_u64() != block
        || entry_size < size_of::<GptPartitionEntry>()
        || size > MAX_ENTRIES
    {
        return Ok(None);
    }
    let start = header.partition_entry_lba.to_u64().checked_mul(unit);
    let Some(start) = start.filter(|start| start.saturating_add(size as u64) <= disk.len()) else {
        return Ok(None);
    };
    let entries = disk.read(start, size).await?;
    if crc32fast::hash(&entries).to_le_bytes() != header.partition_entry_array_crc32.0.0 {
        return Ok(None);
    }
    let scale = unit / SECTOR_SIZE as u64;
    let partitions = entries.chunks_exact(entry_size).zip(1..);
    Ok(Some(
        partitions
            .filter_map(|(entry, number)| partition(entry, number, scale))
            .collect(),
    ))
}

/// The partition of an entry that is in use.
fn partition(entry: &[u8], number: u32, scale: u64) -> Option<Partition> {
    let entry: GptPartitionEntry =
        bytemuck::pod_read_unaligned(entry.get(..size_of::<GptPartitionEntry>())?);
    if !entry.is_used() {
        return None;
    }
    let first = entry.starting_lba.to_u64().checked_mul(scale)?;
    let end = entry.ending_lba.to_u64().checked_add(1)?;
    Some(Partition {
        number,
        name: name(&entry),
        range: first..end.checked_mul(scale)?,
    })
}

fn name(entry: &GptPartitionEntry) -> String {
    let name = entry.name;
    name.to_string()
}
