//! Bytes in and out of a disk, for dom0's own use: partition tables, file systems, metadata.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use backends::host::{Disk, DiskError, DiskRequest, Host, IoMemory, Piece, SECTOR_SIZE};
use guest_abi::PAGE_SIZE;

/// Bytes of the longest request made here.
const MAX_REQUEST: usize = 256 << 10;

/// Sees a request through: submits it, tells the device, waits.
pub(super) async fn perform(disk: &dyn Disk, request: DiskRequest) -> Result<(), DiskError> {
    let future = disk.submit(request);
    disk.kick();
    future.await
}

/// The part of some memory that starts at `offset`, a piece for each page it touches.
pub(super) fn pieces(memory: &Rc<dyn IoMemory>, offset: usize, len: usize) -> Vec<Piece> {
    let end = offset + len;
    let mut at = offset;
    core::iter::from_fn(|| {
        let len = (PAGE_SIZE - at % PAGE_SIZE).min(end - at);
        let piece = (len > 0).then(|| Piece {
            memory: memory.clone(),
            offset: at,
            len,
        });
        at += len;
        piece
    })
    .collect()
}

/// Fills a piece with zeros.
pub(super) fn clear(piece: &Piece) {
    static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
    let mut at = 0;
    while at < piece.len {
        let zeros = ZEROS.get(..piece.len - at).unwrap_or(&ZEROS);
        piece.write(at, zeros);
        at += zeros.len();
    }
}

/// Hands out the pieces of a request part by part.
pub(super) struct Splitter {
    rest: vec::IntoIter<Piece>,
    /// What is left of the piece that the last part ended in.
    split: Option<Piece>,
}

impl Splitter {
    /// All pieces are still there.
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        Self {
            rest: pieces.into_iter(),
            split: None,
        }
    }

    /// The pieces of the next sectors.
    pub(super) fn take(&mut self, sectors: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut missing = usize::try_from(sectors).unwrap_or(0) * SECTOR_SIZE;
        while missing > 0 {
            let Some(piece) = self.split.take().or_else(|| self.rest.next()) else {
                break;
            };
            if piece.len > missing {
                self.split = Some(piece.part(missing, piece.len));
            }
            let part = piece.part(0, missing);
            missing -= part.len;
            pieces.push(part);
        }
        pieces
    }
}

/// Memory of dom0's own for `len` bytes. A host that has none left counts as a failing device.
pub(super) fn memory(host: &dyn Host, len: usize) -> Result<Rc<dyn IoMemory>, DiskError> {
    host.pages(len.div_ceil(PAGE_SIZE).max(1))
        .map_err(|_| DiskError::Io)
}

/// A disk seen as bytes.
#[derive(Clone)]
pub(super) struct Bytes {
    disk: Rc<dyn Disk>,
    host: Rc<dyn Host>,
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({:?})", self.disk.geometry())
    }
}

impl Bytes {
    /// The bytes of `disk`.
    pub(super) fn new(disk: Rc<dyn Disk>, host: Rc<dyn Host>) -> Self {
        Self { disk, host }
    }

    /// The disk itself.
    pub(super) fn disk(&self) -> &Rc<dyn Disk> {
        &self.disk
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.disk.geometry().sectors * SECTOR_SIZE as u64
    }

    /// Reads bytes from anywhere.
    pub(super) async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let end = offset.checked_add(len as u64);
        // Before memory is asked for that no read could fill.
        end.filter(|&end| end <= self.len())
            .ok_or(DiskError::OutOfRange)?;
        let mut bytes = vec![0; len];
        self.read_into(offset, &mut bytes).await?;
        Ok(bytes)
    }

    /// Reads bytes from anywhere into memory that is there.
    pub(super) async fn read_into(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        for (index, part) in into.chunks_mut(MAX_REQUEST).enumerate() {
            self.read_part(offset + (index * MAX_REQUEST) as u64, part)
                .await?;
        }
        Ok(())
    }

    /// Reads at most a request's worth: whole sectors, of which the wanted bytes are taken.
    async fn read_part(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let unit = u64::from(self.disk.geometry().sector_size.max(512));
        let end = offset
            .checked_add(into.len() as u64)
            .filter(|&end| end <= self.len())
            .ok_or(DiskError::OutOfRange)?;
        let start = offset / unit * unit;
        let size = end.next_multiple_of(unit) - start;
        let size = usize::try_from(size).map_err(|_| DiskError::OutOfRange)?;
        let memory = memory(&*self.host, size)?;
        let request = DiskRequest::Read {
            sector: start / SECTOR_SIZE as u64,
            pieces: pieces(&memory, 0, size),
        };
        perform(&*self.disk, request).await?;
        let skip = usize::try_from(offset - start).unwrap_or(0);
        memory.copy_from(skip, into);
        Ok(())
    }

    /// Writes whole sectors.
    pub(super) async fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write_parts(offset, bytes, false).await
    }

    /// Writes whole sectors; they survive a loss of power when this is done.
    pub(super) async fn write_durably(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write_parts(offset, bytes, true).await
    }

    async fn write_parts(&self, offset: u64, bytes: &[u8], durable: bool) -> Result<(), DiskError> {
        for (index, part) in bytes.chunks(MAX_REQUEST).enumerate() {
            let memory = memory(&*self.host, part.len())?;
            memory.copy_to(0, part);
            let request = DiskRequest::Write {
                sector: (offset + (index * MAX_REQUEST) as u64) / SECTOR_SIZE as u64,
                pieces: pieces(&memory, 0, part.len()),
                durable,
            };
            perform(&*self.disk, request).await?;
        }
        Ok(())
    }

    /// Makes what was written survive a loss of power.
    pub(super) async fn flush(&self) -> Result<(), DiskError> {
        perform(&*self.disk, DiskRequest::Flush).await
    }
}
