//! FAT12, FAT16 and FAT32, to be read: the one crate without a standard library, `fatfs`, does not
//! build on a stable compiler.
//!
//! ```text
//!   boot sector │ reserved │ FAT │ its copies │ root (FAT12, FAT16) │ clusters 2, 3, …
//! ```

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use backends::host::DiskError;

use super::extents::Extent;
use super::fat_dir::{self, Entry};
use super::layout::{u16_at, u32_at};
use super::{File, FileError, FileInfo};
use crate::storage::block::Bytes;

/// Most bytes of a directory that are looked at.
const MAX_DIRECTORY: u64 = 4 << 20;
/// Bytes of the FAT read at a time; no entry of 12 bits may end in the next.
const WINDOW: u64 = 24 << 10;
/// Bytes of an entry of a directory.
const ENTRY: u64 = 32;

/// How wide the entries of the FAT are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// Where the root directory lies.
#[derive(Clone, Copy, Debug)]
enum Root {
    /// Before the clusters.
    Fixed(Extent),
    /// In clusters, from this one on.
    Cluster(u32),
}

/// What the boot sector says. All places and sizes in bytes.
#[derive(Debug)]
struct Geometry {
    width: Width,
    fat: u64,
    fat_len: u64,
    data: u64,
    cluster: u64,
    clusters: u32,
    root: Root,
    label: String,
}

/// An open file system.
pub(super) struct Fat {
    bytes: Bytes,
    geometry: Geometry,
}

impl Fat {
    /// The file system that lies here, if it is one of these.
    pub(super) async fn open(bytes: &Bytes) -> Result<Option<Self>, FileError> {
        if bytes.len() < 512 {
            return Ok(None);
        }
        let boot = bytes.read(0, 512).await?;
        let geometry = parse(&boot).filter(|geometry| geometry.data < bytes.len());
        Ok(geometry.map(|geometry| Self {
            bytes: bytes.clone(),
            geometry,
        }))
    }

    /// Its name.
    pub(super) fn label(&self) -> &str {
        &self.geometry.label
    }

    /// Finds a file and where it lies.
    pub(super) async fn find(&self, path: &str) -> Result<File, FileError> {
        let (path, entry) = self.walk(path).await?;
        let entry = entry.filter(|entry| !entry.is_dir);
        let entry = entry.ok_or_else(|| FileError::refused("path is a directory"))?;
        let extents = self.chain(entry.cluster, entry.size.into()).await?;
        Ok(File {
            path,
            size: entry.size.into(),
            extents: Some(extents),
        })
    }

    /// The entries of a directory; of a file, itself.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<FileInfo>, FileError> {
        let (path, entry) = self.walk(path).await?;
        let info = |entry: Entry| FileInfo {
            name: entry.name,
            size: entry.size.into(),
            is_dir: entry.is_dir,
        };
        if let Some(file) = entry.clone().filter(|entry| !entry.is_dir) {
            let name = path;
            return Ok(Vec::from([info(Entry { name, ..file })]));
        }
        let entries = self.directory(entry.as_ref()).await?;
        Ok(entries.into_iter().map(info).collect())
    }

    /// Follows a path: the names as they are written on the disk, and the last entry; none for
    /// the root.
    async fn walk(&self, path: &str) -> Result<(String, Option<Entry>), FileError> {
        let mut way: Vec<Entry> = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => continue,
                ".." => {
                    way.pop();
                    continue;
                }
                _ => {}
            }
            if way.last().is_some_and(|entry| !entry.is_dir) {
                return Err(FileError::refused("path is not a directory"));
            }
            let entries = self.directory(way.last()).await?;
            let same = |entry: &Entry| entry.name.eq_ignore_ascii_case(name);
            way.push(entries.into_iter().find(same).ok_or(FileError::Missing)?);
        }
        let names = way.iter().map(|entry| entry.name.as_str());
        let path = names.fold(String::new(), |path, name| path + "/" + name);
        Ok((path, way.pop()))
    }

    /// The entries of a directory; of the root, when none is given.
    async fn directory(&self, entry: Option<&Entry>) -> Result<Vec<Entry>, FileError> {
        let cluster = match (entry, self.geometry.root) {
            (Some(entry), _) if entry.cluster != 0 => entry.cluster,
            (_, Root::Cluster(cluster)) => cluster,
            (_, Root::Fixed(extent)) => return self.entries(&[extent]).await,
        };
        let extents = self.chain(cluster, MAX_DIRECTORY).await?;
        self.entries(&extents).await
    }

    async fn entries(&self, extents: &[Extent]) -> Result<Vec<Entry>, FileError> {
        let mut all = Vec::new();
        for extent in extents {
            let len = usize::try_from(extent.len).unwrap_or(0);
            all.extend(self.bytes.read(extent.device, len).await?);
        }
        Ok(fat_dir::parse(&all))
    }

    /// Where the first `size` bytes of a chain of clusters lie. A chain that is too long to be one
    /// ends there; one that is too short, or leads nowhere, is damage.
    async fn chain(&self, first: u32, size: u64) -> Result<Vec<Extent>, FileError> {
        let geometry = &self.geometry;
        let mut window = Window::default();
        let mut extents: Vec<Extent> = Vec::new();
        let (mut cluster, mut done) = (first, 0);
        while done < size && self.is_data(cluster) {
            if done / geometry.cluster > geometry.clusters.into() {
                return Err(FileError::refused(
                    "damaged: its clusters go round in a circle",
                ));
            }
            let device = geometry.data + u64::from(cluster - 2) * geometry.cluster;
            match extents.last_mut() {
                Some(last) if last.device + last.len == device => last.len += geometry.cluster,
                _ => extents.push(Extent {
                    file: done,
                    device,
                    len: geometry.cluster,
                }),
            }
            done += geometry.cluster;
            cluster = self.next(cluster, &mut window).await?;
        }
        if done < size && size != MAX_DIRECTORY {
            return Err(FileError::refused(
                "damaged: it is shorter than it should be",
            ));
        }
        Ok(extents)
    }

    /// Whether a number is that of a cluster that can hold data.
    fn is_data(&self, cluster: u32) -> bool {
        (2..self.geometry.clusters.saturating_add(2)).contains(&cluster)
    }

    /// The cluster behind another.
    async fn next(&self, cluster: u32, window: &mut Window) -> Result<u32, DiskError> {
        let number = u64::from(cluster);
        let at = match self.geometry.width {
            Width::Twelve => number + number / 2,
            Width::Sixteen => number * 2,
            Width::ThirtyTwo => number * 4,
        };
        let start = at / WINDOW * WINDOW;
        if window.start != Some(start) {
            // One byte more: an entry of 12 bits may end there.
            let len = (WINDOW + 1).min(self.geometry.fat_len.saturating_sub(start));
            let len = usize::try_from(len).unwrap_or(0);
            window.bytes = self.bytes.read(self.geometry.fat + start, len).await?;
            window.start = Some(start);
        }
        let at = usize::try_from(at - start).unwrap_or(usize::MAX);
        let half = u16_at(&window.bytes, at).map(u32::from);
        let next = match self.geometry.width {
            Width::Twelve if cluster % 2 == 1 => half.map(|half| half >> 4),
            Width::Twelve => half.map(|half| half & 0xfff),
            Width::Sixteen => half,
            Width::ThirtyTwo => u32_at(&window.bytes, at).map(|word| word & 0x0fff_ffff),
        };
        Ok(next.unwrap_or(0))
    }
}

/// A part of the FAT.
#[derive(Default)]
struct Window {
    start: Option<u64>,
    bytes: Vec<u8>,
}

/// What a boot sector says, if it is that of a FAT.
fn parse(boot: &[u8]) -> Option<Geometry> {
    let byte = |at: usize| boot.get(at).copied().map(u64::from);
    let half = |at| u16_at(boot, at).map(u64::from);
    let word = |at| u32_at(boot, at).map(u64::from);
    let jumps = matches!(byte(0)?, 0xeb | 0xe9);
    let (sector, per_cluster) = (half(11)?, byte(13)?);
    let (reserved, copies) = (half(14)?, byte(16)?);
    if half(510)? != 0xaa55
        || !jumps
        || ![512, 1024, 2048, 4096].contains(&sector)
        || !per_cluster.is_power_of_two()
        || reserved == 0
        || copies == 0
    {
        return None;
    }
    let either = |short: u64, long: u64| if short == 0 { long } else { short };
    let is_32 = half(22)? == 0;
    let fat_len = either(half(22)?, word(36)?) * sector;
    let total = either(half(19)?, word(32)?) * sector;
    let fat = reserved * sector;
    let root_start = fat + copies * fat_len;
    let root_len = (half(17)? * ENTRY).next_multiple_of(sector);
    let data = root_start + root_len;
    let cluster = sector * per_cluster;
    let clusters = u32::try_from(total.checked_sub(data)? / cluster).ok()?;
    let width = match clusters {
        _ if is_32 => Width::ThirtyTwo,
        0..4085 => Width::Twelve,
        _ => Width::Sixteen,
    };
    let root = match width {
        Width::ThirtyTwo => Root::Cluster(u32_at(boot, 44)?),
        _ => Root::Fixed(Extent {
            file: 0,
            device: root_start,
            len: root_len,
        }),
    };
    let label = boot.get(if is_32 { 71..82 } else { 43..54 })?;
    Some(Geometry {
        width,
        fat,
        fat_len,
        data,
        cluster,
        clusters,
        root,
        label: String::from_utf8_lossy(label).trim_end().to_string(),
    })
}
