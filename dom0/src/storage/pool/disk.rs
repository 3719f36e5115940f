//! An open volume, as a disk.
//!
//! The fast path is a request whose blocks the newest layer holds: a look at the map, and the
//! pieces go to the device as they are. It takes no lock. It holds the epoch, so that the chunks
//! stay its own, and counts as a writer, so that a snapshot waits for it.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;

use backends::host::{Disk, DiskError, DiskFuture, DiskRequest, Geometry, Piece};

use super::Pool;
use super::layer::{Layer, chunk_of};
use super::layout::{BLOCK, CHUNK, CHUNK_SECTORS};
use super::map::Entry;
use super::volume::Volume;
use crate::storage::claims::Claim;
use crate::storage::slice::sectors;

/// A volume somebody has opened.
pub(in crate::storage) struct OpenVolume {
    pool: Rc<Pool>,
    volume: Rc<Volume>,
    geometry: Geometry,
    /// Given back when the last user is gone.
    _claim: Claim,
}

impl fmt::Debug for OpenVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenVolume({:?})", self.volume.layer())
    }
}

impl OpenVolume {
    /// The volume as a disk. It does not change its size while the claim lasts.
    pub(super) fn new(pool: Rc<Pool>, volume: Rc<Volume>, read_only: bool, claim: Claim) -> Self {
        let geometry = Geometry {
            sectors: volume.layer().sectors.get(),
            sector_size: pool.sector_size(),
            physical_sector_size: u32::try_from(BLOCK).unwrap_or(4096),
            read_only,
            discard_granularity: u32::try_from(CHUNK).ok(),
        };
        Self {
            pool,
            volume,
            geometry,
            _claim: claim,
        }
    }

    /// Whether the request may be made at all.
    fn check(&self, request: &DiskRequest) -> Result<(), DiskError> {
        let (sector, sectors) = match request {
            DiskRequest::Flush => return Ok(()),
            DiskRequest::Read { sector, pieces } | DiskRequest::Write { sector, pieces, .. } => {
                (*sector, sectors(pieces))
            }
            DiskRequest::Discard { sector, sectors } => (*sector, *sectors),
        };
        if self.geometry.read_only && !matches!(request, DiskRequest::Read { .. }) {
            return Err(DiskError::Unsupported);
        }
        let end = sector.checked_add(sectors).ok_or(DiskError::OutOfRange)?;
        match end <= self.geometry.sectors {
            true => Ok(()),
            false => Err(DiskError::OutOfRange),
        }
    }

    fn write(&self, sector: u64, pieces: Vec<Piece>, durable: bool) -> DiskFuture {
        let (pool, volume) = (&self.pool, &self.volume);
        let end = sector + sectors(&pieces);
        if sector == end {
            return ready(Ok(()));
        }
        let layer = volume.layer();
        let fast = || Some((volume.try_enter()?, layer.plan_write(sector..end)?));
        let Some((writer, plan)) = fast() else {
            let work = super::write::write(pool.clone(), volume.clone(), sector, pieces, durable);
            let task = pool.runtime.spawn(work);
            return Box::pin(async move { task.join().await.unwrap_or(Err(DiskError::Io)) });
        };
        // An entry that is not durable yet makes the data no more durable than itself.
        let chunks = chunk_of(sector)..=chunk_of(end - 1);
        let commit = durable && pool.changes.borrow().touch(layer.number, chunks);
        let future = pool.write(&plan, &layer, pieces, durable && !commit);
        let guard = (writer, pool.space.borrow().epoch());
        let future = pool.guard(future, guard);
        if !commit {
            return future;
        }
        let pool = pool.clone();
        Box::pin(async move {
            future.await?;
            pool.commit().await
        })
    }

    fn flush(&self) -> DiskFuture {
        let pool = self.pool.clone();
        let layer = self.volume.layer();
        if !pool.changes.borrow().touch(layer.number, 0..=u32::MAX) {
            return pool.device().submit(DiskRequest::Flush);
        }
        Box::pin(async move { pool.commit().await })
    }

    fn discard(&self, sector: u64, sectors: u64) -> DiskFuture {
        let (pool, volume) = (self.pool.clone(), self.volume.clone());
        Box::pin(async move {
            let _writer = volume.enter().await?;
            let first = sector.div_ceil(CHUNK_SECTORS);
            let end = (sector + sectors) / CHUNK_SECTORS;
            let number = |chunk| u32::try_from(chunk).unwrap_or(u32::MAX);
            pool.forget(&volume.layer(), number(first), number(end));
            Ok(())
        })
    }
}

impl Pool {
    /// Gives up the chunks of a layer from `first` to before `end`.
    fn forget(&self, layer: &Layer, first: u32, end: u32) {
        let mut map = layer.map.borrow_mut();
        let mut changes = self.changes.borrow_mut();
        let mut from = first;
        while let Some((chunk, entry)) = map.next(from).filter(|&(chunk, _)| chunk < end) {
            map.set(chunk, Entry::default());
            changes.free((layer.number, chunk), entry.chunk);
            from = chunk + 1;
        }
    }
}

fn ready(result: Result<(), DiskError>) -> DiskFuture {
    Box::pin(core::future::ready(result))
}

impl Disk for OpenVolume {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, request: DiskRequest) -> DiskFuture {
        if let Err(error) = self.check(&request) {
            return ready(Err(error));
        }
        match request {
            DiskRequest::Read { sector, pieces } => {
                let end = sector + sectors(&pieces);
                self.pool.read(&self.volume.layer(), sector..end, pieces)
            }
            DiskRequest::Write {
                sector,
                pieces,
                durable,
            } => self.write(sector, pieces, durable),
            DiskRequest::Flush => self.flush(),
            DiskRequest::Discard { sector, sectors } => self.discard(sector, sectors),
        }
    }

    fn kick(&self) {
        self.pool.kick(&self.volume.layer());
    }
}
