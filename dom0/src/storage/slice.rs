//! A part of a disk, or all of it, as a disk of its own.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;

use backends::host::{Disk, DiskError, DiskFuture, DiskRequest, Geometry, Piece, SECTOR_SIZE};

use super::claims::Claim;

/// Sectors `start..start + len` of a disk. Whoever holds it holds the claims on them.
pub(super) struct Slice {
    disk: Rc<dyn Disk>,
    start: u64,
    geometry: Geometry,
    /// Given back when the last user is gone.
    _claims: Vec<Claim>,
}

impl Slice {
    /// The sectors `range` of `disk`, which has so many.
    pub(super) fn new(
        disk: Rc<dyn Disk>,
        range: Range<u64>,
        read_only: bool,
        claims: Vec<Claim>,
    ) -> Self {
        let whole = disk.geometry();
        Self {
            start: range.start,
            geometry: Geometry {
                sectors: range.end.min(whole.sectors).saturating_sub(range.start),
                read_only: whole.read_only || read_only,
                ..whole
            },
            disk,
            _claims: claims,
        }
    }

    /// Where `len` sectors from `sector` on lie on the disk.
    fn place(&self, sector: u64, len: u64) -> Option<u64> {
        let end = sector.checked_add(len)?;
        (end <= self.geometry.sectors).then(|| self.start + sector)
    }

    fn translate(&self, request: DiskRequest) -> Result<DiskRequest, DiskError> {
        let outside = DiskError::OutOfRange;
        Ok(match request {
            DiskRequest::Read { sector, pieces } => DiskRequest::Read {
                sector: self.place(sector, sectors(&pieces)).ok_or(outside)?,
                pieces,
            },
            DiskRequest::Flush => DiskRequest::Flush,
            _ if self.geometry.read_only => return Err(DiskError::Unsupported),
            DiskRequest::Write {
                sector,
                pieces,
                durable,
            } => DiskRequest::Write {
                sector: self.place(sector, sectors(&pieces)).ok_or(outside)?,
                pieces,
                durable,
            },
            DiskRequest::Discard { sector, sectors } => DiskRequest::Discard {
                sector: self.place(sector, sectors).ok_or(outside)?,
                sectors,
            },
        })
    }
}

/// How many sectors pieces hold.
pub(super) fn sectors(pieces: &[Piece]) -> u64 {
    let bytes: usize = pieces.iter().map(|piece| piece.len).sum();
    (bytes / SECTOR_SIZE) as u64
}

impl Disk for Slice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, request: DiskRequest) -> DiskFuture {
        match self.translate(request) {
            Ok(request) => self.disk.submit(request),
            Err(error) => Box::pin(core::future::ready(Err(error))),
        }
    }

    fn needs_bytes(&self) -> bool {
        self.disk.needs_bytes()
    }

    fn kick(&self) {
        self.disk.kick();
    }
}
