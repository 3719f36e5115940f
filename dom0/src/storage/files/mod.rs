//! dom0's own files: kernels, ramdisks, configurations and disk images on an ext4 file system of
//! one of its disks. dom0 never writes the file system, only into image files that are all there.
//!
//! The file system is the GPT partition named `radon-data`; else a disk or partition whose
//! file system has that label; else the first one there is, in the order of the disks.
//!
//! It is opened anew for each use, so that nothing remembered can be out of date, and claimed as
//! long as that lasts: no guest can write it meanwhile, and while one may, dom0 does not read it.

mod cache;
mod extents;
mod image;
mod layout;
#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a test's numbers are small"
)]
mod tests;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ext4_view::{Ext4, Ext4Error};

use super::block::Bytes;
use super::claims::{Claim, Resource};
use super::slice::Slice;
use super::{Mode, OpenDisk, Place, Storage, StorageError};
use cache::Cache;
use extents::Extent;
use image::Image;
use layout::Layout;

/// Name of the partition, or of the file system, that is dom0's for sure.
const OWN_NAME: &str = "radon-data";

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// A directory.
    pub is_dir: bool,
}

/// The file system, for one use.
struct Mounted {
    bytes: Bytes,
    cache: Rc<Cache>,
    layout: Layout,
    fs: Ext4,
    claim: Claim,
}

/// A file that was found.
struct File {
    /// Its one path: without links, dots and doubled slashes.
    path: String,
    size: u64,
    /// Where its bytes lie; none if only the crate can tell.
    extents: Option<Vec<Extent>>,
}

impl Storage {
    /// Reads a file of dom0's own file system.
    ///
    /// # Errors
    ///
    /// In words for the user; also when it is longer than `limit` bytes.
    pub async fn read_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, StorageError> {
        let mounted = self.mount(path).await?;
        let file = mounted.find(path).await?;
        let refused = |reason| StorageError::refused(path, reason);
        if file.size > limit {
            return Err(refused(format!("longer than {} MiB", limit >> 20)));
        }
        let Some(extents) = &file.extents else {
            let read = || mounted.fs.read(file.path.as_str());
            return mounted.run(path, read).await;
        };
        let no_room = "too big for dom0's memory; raise dom0_mem or use a smaller file";
        let size = usize::try_from(file.size).map_err(|_| refused(no_room.into()))?;
        let mut bytes = Vec::new();
        let reserved = bytes.try_reserve_exact(size);
        reserved.map_err(|_| refused(no_room.into()))?;
        bytes.resize(size, 0);
        let failed = StorageError::device(path);
        for extent in extents {
            let range = extent.range_within(size);
            if let Some(into) = bytes.get_mut(range) {
                let read = mounted.bytes.read_into(extent.device, into).await;
                read.map_err(&failed)?;
            }
        }
        Ok(bytes)
    }

    /// The entries of a directory of dom0's own file system, by name; of a file, itself.
    ///
    /// # Errors
    ///
    /// In words for the user.
    pub async fn list_dir(&self, path: &str) -> Result<Vec<FileInfo>, StorageError> {
        let mounted = self.mount(path).await?;
        let absolute = absolute(path);
        let list = || list(&mounted.fs, &absolute);
        mounted.run(path, list).await
    }

    /// Opens a raw image file as a disk.
    pub(super) async fn open_image(
        &self,
        spec: &str,
        path: &str,
        mode: Mode,
        holder: &str,
    ) -> Result<OpenDisk, StorageError> {
        let mounted = self.mount(spec).await?;
        let file = mounted.find(path).await?;
        let Some(extents) = file.extents else {
            let reason = "dom0 cannot tell where it lies; use ext4 with extents, and `e2fsck` it";
            return Err(StorageError::refused(spec, reason));
        };
        let writes = mode == Mode::ReadWrite;
        let geometry = mounted.bytes.disk().geometry();
        let reason = if geometry.read_only {
            Some("the device below is read-only")
        } else if !extents::cover(&extents, file.size) {
            Some("it has holes; write all of it once, with `dd` or `cp --sparse=never`")
        } else {
            None
        };
        if let (true, Some(reason)) = (writes, reason) {
            return Err(StorageError::ReadOnly {
                spec: spec.to_string(),
                reason: reason.to_string(),
            });
        }
        let claim = self.claim(spec, Resource::File(file.path), mode, holder)?;
        let claims = [mounted.claim, claim];
        let disk = mounted.bytes.disk().clone();
        let image = Image::new(disk, file.size, extents, !writes, claims);
        let image = image
            .ok_or_else(|| StorageError::refused(spec, "it has no whole sector; make it bigger"))?;
        Ok(OpenDisk(Rc::new(image)))
    }

    /// Opens the file system.
    async fn mount(&self, spec: &str) -> Result<Mounted, StorageError> {
        let place = self.own_files(spec).await?;
        let resource = place.resource();
        let claim = self
            .claims
            .take(resource, false, "dom0, as its file system");
        let claim = claim.map_err(|holder| {
            let disk = &place.name;
            let reason = format!("dom0's file system on {disk} is in use by {holder}");
            StorageError::refused(spec, reason)
        })?;
        let bytes = self.bytes_of(&place);
        let damaged = |error: &dyn core::fmt::Display| {
            let disk = &place.name;
            StorageError::refused(spec, format!("the file system on {disk}: {error}"))
        };
        let layout = Layout::read(&bytes)
            .await
            .map_err(|error| damaged(&error))?
            .ok_or_else(|| damaged(&"it is no ext4"))?;
        let cache = Cache::new(bytes.clone());
        let fs = cache.run(|| Ext4::load(cache.reader())).await;
        Ok(Mounted {
            fs: fs.map_err(|error| damaged(&error))?,
            bytes,
            cache,
            layout,
            claim,
        })
    }

    /// Where dom0's file system lies.
    async fn own_files(&self, spec: &str) -> Result<Place, StorageError> {
        let mut first = None;
        let mut labelled = None;
        for (name, disk) in self.disks.all() {
            let whole = Place::whole(name, disk);
            let partitions = self.partitions(spec, &whole.disk).await?;
            let named = partitions.iter().find(|part| part.name == OWN_NAME);
            if let Some(partition) = named {
                return Ok(whole.part(partition.range.clone()));
            }
            let parts = partitions.iter().map(|part| whole.part(part.range.clone()));
            for place in core::iter::once(whole.clone()).chain(parts) {
                let layout = Layout::read(&self.bytes_of(&place)).await;
                let Ok(Some(layout)) = layout else { continue };
                if layout.label == OWN_NAME {
                    labelled.get_or_insert(place);
                } else {
                    first.get_or_insert(place);
                }
            }
        }
        labelled.or(first).ok_or_else(|| {
            let reason = "this host has no file system of its own: put an ext4 one on a disk, \
                          or use `cargo xtask xl`";
            StorageError::refused(spec, reason)
        })
    }

    /// The bytes of a place, for whoever has a claim on it.
    fn bytes_of(&self, place: &Place) -> Bytes {
        let (disk, range) = (place.disk.clone(), place.range.clone());
        let slice = Slice::new(disk, range, false, Vec::new());
        Bytes::new(Rc::new(slice), self.host.clone())
    }
}

impl Mounted {
    /// Does something with the file system, in words for the user if it fails.
    async fn run<T>(
        &self,
        path: &str,
        work: impl FnMut() -> Result<T, Ext4Error>,
    ) -> Result<T, StorageError> {
        self.cache.run(work).await.map_err(|error| match error {
            Ext4Error::NotFound => StorageError::Missing {
                spec: path.to_string(),
                what: "file on dom0's disk",
                hint: "`xl ls DIRECTORY` shows what there is".to_string(),
            },
            error => StorageError::refused(path, error),
        })
    }

    /// Finds a file and where it lies.
    async fn find(&self, path: &str) -> Result<File, StorageError> {
        let absolute = absolute(path);
        let open = || {
            let canonical = self.fs.canonicalize(absolute.as_str())?;
            let file = self.fs.open(canonical.as_path())?;
            let path = String::from_utf8_lossy(canonical.as_ref()).into_owned();
            Ok((path, file.metadata().len(), inode_number(&file)))
        };
        let (canonical, size, inode) = self.run(path, open).await?;
        let extents = match inode {
            Some(inode) => extents::find(&self.bytes, &self.layout, inode, size).await,
            None => Ok(None),
        };
        Ok(File {
            path: canonical,
            size,
            extents: extents.map_err(StorageError::device(path))?,
        })
    }
}

/// The number of a file's inode. The crate tells it in the file's debug form only; whoever uses it
/// checks that the inode looks like the file.
fn inode_number(file: &ext4_view::File) -> Option<u32> {
    let text = format!("{file:?}");
    let (_, rest) = text.split_once("inode: ")?;
    let end = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..end)?.parse().ok()
}

/// A path from the root on: there is no other directory to start from.
fn absolute(path: &str) -> String {
    let path = path.strip_prefix(super::OWN_FILES).unwrap_or(path);
    format!("/{}", path.trim_start_matches('/'))
}

fn list(fs: &Ext4, path: &str) -> Result<Vec<FileInfo>, Ext4Error> {
    let info = |name: String, metadata: &ext4_view::Metadata| FileInfo {
        name,
        size: metadata.len(),
        is_dir: metadata.is_dir(),
    };
    let metadata = fs.metadata(path)?;
    if !metadata.is_dir() {
        return Ok(Vec::from([info(path.to_string(), &metadata)]));
    }
    let mut all = Vec::new();
    for entry in fs.read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().display().to_string();
        if name != "." && name != ".." {
            all.push(info(name, &entry.metadata()?));
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}
