//! Partition tables: GPT, and the four primary entries of an MBR.

mod gpt;
mod mbr;
#[cfg(test)]
pub(super) mod tests;

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use backends::host::DiskError;

use super::block::Bytes;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// Its number, counted from 1.
    pub(super) number: u32,
    /// Its name; an MBR knows none.
    pub(super) name: String,
    /// Its sectors.
    pub(super) range: Range<u64>,
}

/// The partitions of a disk; none, if it has no table.
///
/// A GPT counts before an MBR, and its second copy when the first is damaged. Entries that reach
/// beyond the disk are left out.
pub(super) async fn read(disk: &Bytes) -> Result<Vec<Partition>, DiskError> {
    let mut partitions = match gpt::read(disk).await? {
        Some(partitions) => partitions,
        None => mbr::read(disk).await?,
    };
    let sectors = disk.disk().geometry().sectors;
    partitions.retain(|partition| {
        let range = &partition.range;
        range.start > 0 && range.start < range.end && range.end <= sectors
    });
    Ok(partitions)
}
