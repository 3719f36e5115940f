//! What must be known of an ext4 file system to find the inode of a file.
//!
//! Fields and offsets: Linux, Documentation/filesystems/ext4.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use backends::host::DiskError;

use crate::storage::block::Bytes;

/// Where the superblock lies, and how long it is.
const SUPERBLOCK: u64 = 1024;
const SUPERBLOCK_LEN: usize = 1024;
const MAGIC: u16 = 0xef53;

/// The journal holds changes that are not where they belong.
const RECOVER: u32 = 0x4;
/// Group descriptors are strewn over the groups.
const META_BG: u32 = 0x10;
/// Block numbers have 64 bits.
const LARGE: u32 = 0x80;

/// The inode's data are found through extents.
const EXTENTS: u32 = 0x8_0000;

/// The file system's own sizes.
#[derive(Debug)]
pub(super) struct Layout {
    /// Its name.
    pub(super) label: String,
    /// Bytes of a block.
    pub(super) block: u64,
    first_data_block: u64,
    inodes_per_group: u32,
    inode_size: u64,
    descriptor_size: u64,
    /// Inodes are where they belong.
    is_plain: bool,
}

/// What an inode says about the file's data.
#[derive(Debug)]
pub(super) struct Inode {
    /// Bytes.
    pub(super) size: u64,
    /// The root of the tree of extents; none if there is no such tree.
    pub(super) root: Option<Vec<u8>>,
}

impl Layout {
    /// The layout of what lies here, if it is ext2, ext3 or ext4.
    pub(super) async fn read(bytes: &Bytes) -> Result<Option<Self>, DiskError> {
        if bytes.len() < SUPERBLOCK + SUPERBLOCK_LEN as u64 {
            return Ok(None);
        }
        let superblock = bytes.read(SUPERBLOCK, SUPERBLOCK_LEN).await?;
        Ok(Self::parse(&superblock))
    }

    fn parse(superblock: &[u8]) -> Option<Self> {
        (u16_at(superblock, 0x38)? == MAGIC).then_some(())?;
        let incompatible = u32_at(superblock, 0x60)?;
        let label = superblock.get(0x78..0x88)?;
        let label = label.split(|&byte| byte == 0).next()?;
        let descriptor_size = match incompatible & LARGE {
            0 => 32,
            _ => u16_at(superblock, 0xfe)?.max(32).into(),
        };
        let inode_size = match u32_at(superblock, 0x4c)? {
            0 => 128,
            _ => u16_at(superblock, 0x58)?.into(),
        };
        Some(Self {
            label: String::from_utf8_lossy(label).to_string(),
            block: 1024u64.checked_shl(u32_at(superblock, 0x18)?.min(6))?,
            first_data_block: u32_at(superblock, 0x14)?.into(),
            inodes_per_group: u32_at(superblock, 0x28)?,
            inode_size,
            descriptor_size,
            is_plain: incompatible & (RECOVER | META_BG) == 0,
        })
    }

    /// Reads an inode; none where it cannot be found in this simple way.
    pub(super) async fn inode(
        &self,
        bytes: &Bytes,
        number: u32,
    ) -> Result<Option<Inode>, DiskError> {
        let Some(index) = number.checked_sub(1).filter(|_| self.is_plain) else {
            return Ok(None);
        };
        let Some(group) = index.checked_div(self.inodes_per_group) else {
            return Ok(None);
        };
        let at = (self.first_data_block + 1) * self.block + u64::from(group) * self.descriptor_size;
        let length = if self.descriptor_size >= 64 { 64 } else { 32 };
        let descriptor = bytes.read(at, length).await?;
        let low = u32_at(&descriptor, 0x8).unwrap_or(0);
        let table = u64::from(low) | u64::from(u32_at(&descriptor, 0x28).unwrap_or(0)) << 32;
        let inside = u64::from(index % self.inodes_per_group) * self.inode_size;
        let at = table.checked_mul(self.block);
        let Some(at) = at.and_then(|at| at.checked_add(inside)) else {
            return Ok(None);
        };
        Ok(inode(&bytes.read(at, 128).await?))
    }
}

fn inode(bytes: &[u8]) -> Option<Inode> {
    let size = u64::from(u32_at(bytes, 0x4)?) | u64::from(u32_at(bytes, 0x6c)?) << 32;
    let has_extents = u32_at(bytes, 0x20)? & EXTENTS != 0;
    let root = bytes.get(0x28..0x64).filter(|_| has_extents);
    Some(Inode {
        size,
        root: root.map(<[u8]>::to_vec),
    })
}

/// A number of 16 bits.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number of 32 bits.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
