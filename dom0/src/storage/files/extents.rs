//! Where the bytes of a file lie.

use alloc::vec::Vec;
use core::ops::Range;

use backends::host::DiskError;

use super::layout::{Layout, u16_at, u32_at};
use crate::storage::block::Bytes;

/// Mark at the start of each node of the tree.
const MAGIC: u16 = 0xf30a;
/// Bytes of a node's head, and of each of its entries.
const ENTRY: usize = 12;
/// Deepest tree there can be.
const MAX_DEPTH: u16 = 5;
/// Lengths above this are of extents that were set aside and never written.
const MAX_WRITTEN: u16 = 32768;
/// Most extents and nodes that are looked at: an image strewn wider is refused.
const MAX_ENTRIES: usize = 1 << 16;

/// Bytes of a file that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Their place in the file.
    pub(super) file: u64,
    /// Their place on the device.
    pub(super) device: u64,
    /// How many.
    pub(super) len: u64,
}

impl Extent {
    /// Their place in memory that holds the first `size` bytes of the file.
    pub(super) fn range_within(&self, size: usize) -> Range<usize> {
        let limit = |at: u64| usize::try_from(at).unwrap_or(size).min(size);
        limit(self.file)..limit(self.file.saturating_add(self.len))
    }
}

/// Whether extents, in order, leave no hole in a file of so many bytes.
pub(super) fn cover(extents: &[Extent], size: u64) -> bool {
    let mut end = 0;
    for extent in extents {
        if extent.file > end {
            return false;
        }
        end = extent.file + extent.len;
    }
    end >= size
}

/// The extents of the file of an inode, in order, holes left out. None, if the inode is not that
/// of a file of `size` bytes, or does not have a sound tree of extents.
pub(super) async fn find(
    bytes: &Bytes,
    layout: &Layout,
    inode: u32,
    size: u64,
) -> Result<Option<Vec<Extent>>, DiskError> {
    let inode = layout.inode(bytes, inode).await?;
    let Some(root) = inode
        .filter(|inode| inode.size == size)
        .and_then(|inode| inode.root)
    else {
        return Ok(None);
    };
    let mut extents = Vec::new();
    let mut nodes = Vec::from([(root, MAX_DEPTH + 1)]);
    let mut seen = 0;
    while let Some((node, above)) = nodes.pop() {
        seen += 1;
        let Some((depth, entries)) = entries(&node).filter(|(depth, _)| *depth < above) else {
            return Ok(None);
        };
        if seen + extents.len() > MAX_ENTRIES {
            return Ok(None);
        }
        if depth == 0 {
            extents.extend(entries.filter_map(|entry| leaf(entry, layout.block)));
            continue;
        }
        for entry in entries {
            let at = child(entry).and_then(|block| block.checked_mul(layout.block));
            let Some(at) = at.filter(|_| nodes.len() < MAX_ENTRIES) else {
                return Ok(None);
            };
            let len = usize::try_from(layout.block).unwrap_or(4096);
            nodes.push((bytes.read(at, len).await?, depth));
        }
    }
    extents.sort_by_key(|extent: &Extent| extent.file);
    let device = bytes.len();
    let sound = extents.iter().all(|extent| {
        let end = extent.device.checked_add(extent.len);
        extent.device > 0 && end.is_some_and(|end| end <= device)
    });
    let apart = extents.is_sorted_by(|one, next| one.file + one.len <= next.file);
    Ok((sound && apart).then_some(extents))
}

/// How far a node is from the leaves, and its entries.
fn entries(node: &[u8]) -> Option<(u16, impl Iterator<Item = &[u8]>)> {
    (u16_at(node, 0)? == MAGIC).then_some(())?;
    let count = usize::from(u16_at(node, 2)?);
    let depth = u16_at(node, 6)?;
    let entries = node.get(ENTRY..ENTRY * (count + 1))?;
    Some((depth, entries.chunks_exact(ENTRY)))
}

/// The extent of a leaf's entry, unless it was never written.
fn leaf(entry: &[u8], block: u64) -> Option<Extent> {
    let len = u16_at(entry, 4)?;
    let device = u64::from(u16_at(entry, 6)?) << 32 | u64::from(u32_at(entry, 8)?);
    (len <= MAX_WRITTEN).then_some(Extent {
        file: u64::from(u32_at(entry, 0)?) * block,
        device: device.checked_mul(block)?,
        len: u64::from(len) * block,
    })
}

/// The block of the node below an entry.
fn child(entry: &[u8]) -> Option<u64> {
    Some(u64::from(u16_at(entry, 8)?) << 32 | u64::from(u32_at(entry, 4)?))
}
