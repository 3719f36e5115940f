//! A disk in memory, which does at once what it is asked for.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use crate::host::{Disk, DiskError, DiskFuture, DiskRequest, Geometry, SECTOR_SIZE};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct FakeDisk {
    geometry: Geometry,
    bytes: Rc<RefCell<Vec<u8>>>,
    /// Requests of each kind: reads, writes, flushes, discards.
    pub counts: Rc<Cell<[u32; 4]>>,
    /// The next requests fail with this.
    pub failure: Rc<Cell<Option<DiskError>>>,
}

impl FakeDisk {
    /// A disk of zeros.
    #[must_use]
    pub fn new(sectors: u64) -> Self {
        let bytes = usize::try_from(sectors).unwrap_or(0) * SECTOR_SIZE;
        Self {
            geometry: Geometry {
                sectors,
                sector_size: 512,
                physical_sector_size: 4096,
                read_only: false,
                discard_granularity: Some(4096),
            },
            bytes: Rc::new(RefCell::new(vec![0; bytes])),
            counts: Rc::default(),
            failure: Rc::default(),
        }
    }

    /// The same with another geometry, of the same size.
    #[must_use]
    pub fn with_geometry(mut self, change: impl FnOnce(&mut Geometry)) -> Self {
        change(&mut self.geometry);
        self
    }

    /// Works on its contents.
    pub fn with_bytes<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(&mut self.bytes.borrow_mut())
    }

    fn run(&self, request: DiskRequest) -> Result<(), DiskError> {
        let kind = match request {
            DiskRequest::Read { .. } => 0,
            DiskRequest::Write { .. } => 1,
            DiskRequest::Flush => 2,
            DiskRequest::Discard { .. } => 3,
        };
        let mut counts = self.counts.get();
        counts[kind] += 1;
        self.counts.set(counts);
        if let Some(error) = self.failure.get() {
            return Err(error);
        }
        let start =
            |sector: u64| usize::try_from(sector).unwrap_or(usize::MAX / 1024) * SECTOR_SIZE;
        let mut bytes = self.bytes.borrow_mut();
        match request {
            DiskRequest::Read { sector, pieces } => {
                let mut at = start(sector);
                for piece in pieces {
                    let part = bytes.get(at..at + piece.len).ok_or(DiskError::OutOfRange)?;
                    piece.write(0, part);
                    at += piece.len;
                }
            }
            DiskRequest::Write { sector, pieces, .. } => {
                let mut at = start(sector);
                for piece in pieces {
                    let part = bytes
                        .get_mut(at..at + piece.len)
                        .ok_or(DiskError::OutOfRange)?;
                    piece.read(0, part);
                    at += piece.len;
                }
            }
            DiskRequest::Flush => {}
            DiskRequest::Discard { sector, sectors } => bytes
                .get_mut(start(sector)..start(sector + sectors))
                .ok_or(DiskError::OutOfRange)?
                .fill(0),
        }
        Ok(())
    }
}

impl Disk for FakeDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, request: DiskRequest) -> DiskFuture {
        let disk = self.clone();
        Box::pin(async move { disk.run(request) })
    }
}
