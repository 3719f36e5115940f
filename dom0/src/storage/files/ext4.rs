//! ext2 to ext4, through the crate `ext4-view`.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ext4_view::Ext4Error;

use super::cache::Cache;
use super::layout::Layout;
use super::{File, FileError, FileInfo, extents};
use crate::storage::block::Bytes;

/// An open file system.
pub(super) struct Ext4 {
    bytes: Bytes,
    cache: Rc<Cache>,
    layout: Layout,
    fs: ext4_view::Ext4,
}

impl From<Ext4Error> for FileError {
    fn from(error: Ext4Error) -> Self {
        match error {
            Ext4Error::NotFound => Self::Missing,
            error => Self::refused(error),
        }
    }
}

impl Ext4 {
    /// The file system that lies here, if it is one of these.
    pub(super) async fn open(bytes: &Bytes) -> Result<Option<Self>, FileError> {
        let Some(layout) = Layout::read(bytes).await? else {
            return Ok(None);
        };
        let cache = Cache::new(bytes.clone());
        let load = || ext4_view::Ext4::load(cache.reader());
        let fs = cache.run(load).await?;
        Ok(Some(Self {
            bytes: bytes.clone(),
            cache,
            layout,
            fs,
        }))
    }

    /// Finds a file and where it lies.
    pub(super) async fn find(&self, path: &str) -> Result<File, FileError> {
        let open = || {
            let canonical = self.fs.canonicalize(path)?;
            let file = self.fs.open(canonical.as_path())?;
            let path = String::from_utf8_lossy(canonical.as_ref()).into_owned();
            Ok((path, file.metadata().len(), inode_number(&file)))
        };
        let (path, size, inode) = self.cache.run(open).await?;
        let extents = match inode {
            Some(inode) => extents::find(&self.bytes, &self.layout, inode, size).await?,
            None => None,
        };
        Ok(File {
            path,
            size,
            extents,
        })
    }

    /// The entries of a directory; of a file, itself.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<FileInfo>, FileError> {
        Ok(self.cache.run(|| list(&self.fs, path)).await?)
    }

    /// Reads a file of which nobody knows where it lies.
    pub(super) async fn read(&self, file: &File) -> Result<Vec<u8>, FileError> {
        Ok(self.cache.run(|| self.fs.read(file.path.as_str())).await?)
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

fn list(fs: &ext4_view::Ext4, path: &str) -> Result<Vec<FileInfo>, Ext4Error> {
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
    all.sort_by(|one: &FileInfo, other| one.name.cmp(&other.name));
    Ok(all)
}
