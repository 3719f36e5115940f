//! dom0's own files: kernels, ramdisks, configurations and disk images on an ext4 file system
//! on one of its disks. dom0 never writes the file system, only into image files that are all there.
//!
//! The file system is the GPT partition named `radon-data`; else a disk or partition whose
//! file system has that label; else the first one there is, in the order of the disks.
//!
//! It is opened anew for each use, so that nothing remembered can be out of date, and claimed as
//! long as that lasts: no guest can write it meanwhile, and while one may, dom0 does not read it.

mod cache;
mod ext4;
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
use core::fmt;

use backends::host::DiskError;

use super::block::Bytes;
use super::claims::{Claim, Resource};
use super::slice::Slice;
use super::{Mode, OpenDisk, Place, Storage, StorageError};
use ext4::Ext4;
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

/// A file that was found.
struct File {
    /// Its one path: without links, dots and doubled slashes.
    path: String,
    size: u64,
    /// Where its bytes lie, in order; none if only the crate can tell.
    extents: Option<Vec<Extent>>,
}

/// Why a file could not be found or read.
#[derive(Debug)]
enum FileError {
    /// There is none.
    Missing,
    /// The device failed.
    Device(DiskError),
    /// Anything else, in words.
    Refused(String),
}

impl From<DiskError> for FileError {
    fn from(error: DiskError) -> Self {
        Self::Device(error)
    }
}

impl FileError {
    fn refused(reason: impl fmt::Display) -> Self {
        Self::Refused(reason.to_string())
    }

    /// In words for whoever asked for this path.
    fn of(self, path: &str) -> StorageError {
        match self {
            Self::Missing => StorageError::Missing {
                spec: path.to_string(),
                what: "file on dom0's disk",
                hint: "`xl ls DIRECTORY` shows what there is".to_string(),
            },
            Self::Device(error) => StorageError::device(path)(error),
            Self::Refused(reason) => StorageError::refused(path, reason),
        }
    }
}

/// The file system, for one use.
struct Mounted {
    bytes: Bytes,
    files: Ext4,
    claim: Claim,
}

impl Storage {
    /// Reads a file of dom0's own file system.
    ///
    /// # Errors
    ///
    /// In words for the user; also when it is longer than `limit` bytes.
    pub async fn read_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, StorageError> {
        let mounted = self.mount(path).await?;
        let read = mounted.read(&absolute(path), limit).await;
        read.map_err(|error| error.of(path))
    }

    /// The entries of a directory of dom0's own file system, by name; of a file, itself.
    ///
    /// # Errors
    ///
    /// In words for the user.
    pub async fn list_dir(&self, path: &str) -> Result<Vec<FileInfo>, StorageError> {
        let mounted = self.mount(path).await?;
        let list = mounted.files.list(&absolute(path)).await;
        list.map_err(|error| error.of(path))
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
        let found = mounted.files.find(&absolute(path)).await;
        let file = found.map_err(|error| error.of(spec))?;
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
        let disk = &place.name;
        let claim = self
            .claims
            .take(resource, false, "dom0, as its file system");
        let claim = claim.map_err(|holder| {
            let reason = format!("dom0's file system on {disk} is in use by {holder}");
            StorageError::refused(spec, reason)
        })?;
        let bytes = self.bytes_of(&place);
        let damaged = |reason: &dyn fmt::Display| {
            StorageError::refused(spec, format!("the file system on {disk}: {reason}"))
        };
        let files = match Ext4::open(&bytes).await {
            Ok(Some(files)) => files,
            Ok(None) => return Err(damaged(&"it is no ext4")),
            Err(FileError::Refused(reason)) => return Err(damaged(&reason)),
            Err(error) => return Err(error.of(spec)),
        };
        Ok(Mounted {
            bytes,
            files,
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
            let named = partitions
                .iter()
                .find(|part| part.name.eq_ignore_ascii_case(OWN_NAME));
            if let Some(partition) = named {
                return Ok(whole.part(partition.range.clone()));
            }
            let parts = partitions.iter().map(|part| whole.part(part.range.clone()));
            for place in core::iter::once(whole.clone()).chain(parts) {
                let layout = Layout::read(&self.bytes_of(&place)).await;
                let Ok(Some(layout)) = layout else { continue };
                if layout.label.eq_ignore_ascii_case(OWN_NAME) {
                    labelled.get_or_insert(place);
                } else {
                    first.get_or_insert(place);
                }
            }
        }
        labelled.or(first).ok_or_else(|| {
            let reason = "this host has no file system of its own: put ext4 on a disk, \
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
    async fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        let file = self.files.find(path).await?;
        if file.size > limit {
            let reason = format!("longer than {} MiB", limit >> 20);
            return Err(FileError::Refused(reason));
        }
        let Some(extents) = &file.extents else {
            return self.files.read(&file).await;
        };
        let no_room = || {
            FileError::refused("too big for dom0's memory; raise dom0_mem or use a smaller file")
        };
        let size = usize::try_from(file.size).map_err(|_| no_room())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| no_room())?;
        bytes.resize(size, 0);
        for extent in extents {
            if let Some(into) = bytes.get_mut(extent.range_within(size)) {
                self.bytes.read_into(extent.device, into).await?;
            }
        }
        Ok(bytes)
    }
}

/// A path from the root on: there is no other directory to start from.
fn absolute(path: &str) -> String {
    let path = path.strip_prefix(super::OWN_FILES).unwrap_or(path);
    format!("/{}", path.trim_start_matches('/'))
}
