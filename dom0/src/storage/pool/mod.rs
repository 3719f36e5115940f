//! Pools: volumes made of chunks of a disk, taken when they are first written.
//!
//! ```text
//!   volume ──▶ layers: map of chunks, 64 KiB each, with a bit for each block of 4 KiB
//!                 │        blocks that no layer holds come from the base, or are zeros
//!                 ▼
//!              space: free chunks          changes ──▶ journal ──▶ checkpoint
//! ```
//!
//! Maps live in memory. What changes in them is written to the journal when somebody asks for
//! durability, after the data it points to (`commit`), and all of it once in a while
//! (`checkpoint`); `recover` reads it back.
//!
//! The rules kept: what a guest was told to be durable is there after a loss of power at any
//! moment; what it wrote since is there or not, sector by sector, and is nobody else's data; the
//! metadata always open. A chunk has at most one owner, and is given to another only when the
//! record that the first has given it up is durable and no request of the first is under way.

mod changes;
mod checkpoint;
mod commit;
#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a test's numbers are small"
)]
mod crash_tests;
mod disk;
mod format;
mod layer;
mod layout;
mod manage;
mod map;
mod recover;
mod space;
#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a test's numbers are small"
)]
mod tests;
mod transfer;
mod volume;
mod write;

pub(super) use disk::OpenVolume;
pub(super) use format::BaseName;
pub(super) use layer::{Base, Layer};
pub(super) use manage::check_name;
pub use manage::{PoolInfo, VolumeInfo};
pub(super) use recover::LoadError;
pub(super) use volume::Volume;

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;

use backends::host::{Disk, Host};

use super::block::Bytes;
use super::claims::Claim;
use super::lock::Lock;
use crate::executor::Runtime;
use changes::Changes;
use commit::{Commits, Tail};
use format::Superblock;
use layout::Layout;
use space::Space;

/// A pool.
pub(super) struct Pool {
    name: String,
    layout: Layout,
    runtime: Runtime,
    host: Rc<dyn Host>,
    bytes: Bytes,
    /// All layers by number.
    layers: RefCell<BTreeMap<u32, Rc<Layer>>>,
    /// All volumes by name.
    volumes: RefCell<BTreeMap<String, Rc<Volume>>>,
    space: RefCell<Space>,
    changes: RefCell<Changes>,
    tail: Cell<Tail>,
    commits: Commits,
    /// Whoever writes metadata has it.
    lock: Lock,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .field("layout", &self.layout)
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Makes an empty pool on a disk; whatever was there is gone.
    pub(super) async fn init(
        name: &str,
        disk: Rc<dyn Disk>,
        host: Rc<dyn Host>,
    ) -> Result<(), String> {
        check_name(name)?;
        let layout = Layout::for_device(disk.geometry().sectors)
            .ok_or("it is too small for a pool; 4 MiB are the least")?;
        let earliest = host.now();
        Self::format(name, layout, &Bytes::new(disk, host), earliest)
            .await
            .map_err(|error| error.to_string())
    }

    /// Writes the superblock of an empty pool. Its generation, no lower than `earliest`, is one
    /// that no record that an older pool has left there can have.
    async fn format(
        name: &str,
        layout: Layout,
        bytes: &Bytes,
        earliest: u64,
    ) -> Result<(), LoadError> {
        let generation = match recover::superblock(bytes).await {
            Ok((old, _)) => earliest.max(old + 1),
            Err(LoadError::NoPool) => earliest.max(1),
            Err(error) => return Err(error),
        };
        let superblock = Superblock {
            name: name.to_string(),
            layout,
            checkpoint_len: 0,
            checkpoint_crc: crc32fast::hash(&[]),
        };
        Ok(checkpoint::write_superblock(bytes, generation, &superblock).await?)
    }

    /// The name of the pool on a disk.
    pub(super) async fn probe(bytes: &Bytes) -> Result<String, LoadError> {
        let (_, superblock) = recover::superblock(bytes).await?;
        Ok(superblock.name)
    }

    /// Opens the pool on a disk, which is the pool's alone.
    pub(super) async fn open(
        runtime: &Runtime,
        disk: Rc<dyn Disk>,
        host: Rc<dyn Host>,
    ) -> Result<Rc<Self>, LoadError> {
        let bytes = Bytes::new(disk, host.clone());
        let found = recover::load(&bytes).await?;
        let volumes = found.layers.values();
        let volumes =
            volumes.map(|layer| (layer.name.borrow().clone(), Volume::new(layer.clone())));
        Ok(Rc::new(Self {
            name: found.name,
            layout: found.layout,
            runtime: runtime.clone(),
            host,
            bytes,
            volumes: RefCell::new(volumes.collect()),
            layers: RefCell::new(found.layers),
            space: RefCell::new(found.space),
            changes: RefCell::default(),
            tail: Cell::new(found.tail),
            commits: Commits::default(),
            lock: Lock::default(),
        }))
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A volume.
    pub(super) fn volume(&self, name: &str) -> Option<Rc<Volume>> {
        self.volumes.borrow().get(name).cloned()
    }

    /// All volumes with their names.
    pub(super) fn all_volumes(&self) -> Vec<(String, Rc<Volume>)> {
        let volumes = self.volumes.borrow();
        let all = volumes.iter();
        all.map(|(name, volume)| (name.clone(), volume.clone()))
            .collect()
    }

    /// Bytes of the smallest piece its volumes read or write.
    pub(super) fn sector_size(&self) -> u32 {
        self.device().geometry().sector_size
    }

    /// A volume as a disk. The image under it, if it has one, must be open.
    pub(super) fn open_volume(
        self: &Rc<Self>,
        volume: Rc<Volume>,
        read_only: bool,
        claim: Claim,
    ) -> OpenVolume {
        OpenVolume::new(self.clone(), volume, read_only, claim)
    }

    fn device(&self) -> &dyn Disk {
        &**self.bytes.disk()
    }
}
