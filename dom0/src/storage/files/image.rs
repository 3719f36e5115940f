//! An image file as a disk: requests go straight to where its bytes lie.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use backends::host::{Disk, DiskError, DiskFuture, DiskRequest, Geometry, Piece, SECTOR_SIZE};

use super::extents::Extent;
use crate::storage::block::{Splitter, clear};
use crate::storage::claims::Claim;
use crate::storage::slice::sectors;

/// Sectors of the image that lie side by side.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    end: u64,
    device: u64,
}

/// An open image file.
pub(super) struct Image {
    disk: Rc<dyn Disk>,
    runs: Vec<Run>,
    geometry: Geometry,
    /// On the file, and on the file system. Given back when the last user is gone.
    _claims: [Claim; 2],
}

impl Image {
    /// A file of `size` bytes as a disk of whole sectors; none if there is not even one, or if the
    /// device cannot read it in whole sectors.
    pub(super) fn new(
        disk: Rc<dyn Disk>,
        size: u64,
        extents: Vec<Extent>,
        read_only: bool,
        claims: [Claim; 2],
    ) -> Option<Self> {
        let below = disk.geometry();
        let unit = u64::from(below.sector_size);
        let size = size - size.checked_rem(unit)?;
        let askew = |extent: &Extent| !(extent.file | extent.device).is_multiple_of(unit);
        if extents.iter().any(askew) {
            return None;
        }
        let sector = |bytes: u64| bytes / SECTOR_SIZE as u64;
        let runs = extents.into_iter().map(|extent| Run {
            start: sector(extent.file),
            end: sector(extent.file + extent.len),
            device: sector(extent.device),
        });
        (size > 0).then(|| Self {
            geometry: Geometry {
                sectors: sector(size),
                read_only,
                discard_granularity: None,
                ..below
            },
            disk,
            runs: runs.collect(),
            _claims: claims,
        })
    }

    /// Does something with each part of the image that lies side by side, and with each hole.
    fn submit_parts(
        &self,
        sector: u64,
        pieces: Vec<Piece>,
        make: impl Fn(u64, Vec<Piece>) -> DiskRequest,
    ) -> DiskFuture {
        let end = sector.saturating_add(sectors(&pieces));
        if end > self.geometry.sectors {
            return done(Err(DiskError::OutOfRange));
        }
        let (device, until) = self.find(sector);
        if let Some(device) = device.filter(|_| end <= until) {
            return self.disk.submit(make(device, pieces));
        }
        let mut pieces = Splitter::new(pieces);
        let mut parts = Vec::new();
        let mut at = sector;
        while at < end {
            let (device, until) = self.find(at);
            let until = until.min(end);
            let part = pieces.take(until - at);
            match device {
                Some(device) => parts.push(self.disk.submit(make(device, part))),
                None => part.iter().for_each(clear),
            }
            at = until;
        }
        Box::pin(async move {
            let results = futures_util::future::join_all(parts).await;
            results.into_iter().collect()
        })
    }

    /// Where a sector lies, none in a hole, and up to which one that goes on.
    fn find(&self, sector: u64) -> (Option<u64>, u64) {
        let next = self.runs.partition_point(|run| run.end <= sector);
        match self.runs.get(next) {
            Some(run) if run.start <= sector => (Some(run.device + (sector - run.start)), run.end),
            Some(run) => (None, run.start),
            None => (None, u64::MAX),
        }
    }
}

fn done(result: Result<(), DiskError>) -> DiskFuture {
    Box::pin(core::future::ready(result))
}

impl Disk for Image {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, request: DiskRequest) -> DiskFuture {
        match request {
            DiskRequest::Read { sector, pieces } => {
                self.submit_parts(sector, pieces, |sector, pieces| DiskRequest::Read {
                    sector,
                    pieces,
                })
            }
            DiskRequest::Write {
                sector,
                pieces,
                durable,
            } if !self.geometry.read_only => {
                self.submit_parts(sector, pieces, |sector, pieces| DiskRequest::Write {
                    sector,
                    pieces,
                    durable,
                })
            }
            DiskRequest::Flush => self.disk.submit(DiskRequest::Flush),
            DiskRequest::Write { .. } | DiskRequest::Discard { .. } => {
                done(Err(DiskError::Unsupported))
            }
        }
    }

    fn kick(&self) {
        self.disk.kick();
    }
}
