//! Where sectors come from and go to.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;

use super::Piece;

/// Bytes in which positions on a disk are counted, whatever the size of its own sectors.
pub const SECTOR_SIZE: usize = 512;

/// What a disk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Its size, in units of [`SECTOR_SIZE`].
    pub sectors: u64,
    /// Bytes of the smallest piece it reads or writes: 512 or 4096.
    pub sector_size: u32,
    /// Bytes of the smallest piece it writes without reading first.
    pub physical_sector_size: u32,
    /// Nobody may write.
    pub read_only: bool,
    /// It forgets sectors on demand: in units of so many bytes.
    pub discard_granularity: Option<u32>,
}

/// What can be asked of a disk. Positions and lengths fit its [`Geometry`]: whoever asks has
/// checked.
#[derive(Debug)]
pub enum DiskRequest {
    /// Fills the pieces, one after the other, from `sector` on.
    Read {
        /// Counted in [`SECTOR_SIZE`].
        sector: u64,
        /// Whole sectors each.
        pieces: Vec<Piece>,
    },
    /// Writes the pieces, one after the other, from `sector` on.
    Write {
        /// Counted in [`SECTOR_SIZE`].
        sector: u64,
        /// Whole sectors each.
        pieces: Vec<Piece>,
        /// Done only when the data will survive a loss of power.
        durable: bool,
    },
    /// Done when everything that was done before it was asked will survive a loss of power.
    Flush,
    /// Forgets sectors: what is read from them then is anything that ever was there, or zeros.
    Discard {
        /// Counted in [`SECTOR_SIZE`].
        sector: u64,
        /// Likewise.
        sectors: u64,
    },
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The device said so.
    Io,
    /// It does not do such things.
    Unsupported,
    /// Nothing is left to hold what was written.
    NoSpace,
    /// It lies beyond the end.
    OutOfRange,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "the device reports an error",
            Self::Unsupported => "the device does not support it",
            Self::NoSpace => "no space is left",
            Self::OutOfRange => "it lies beyond the end of the disk",
        })
    }
}

impl core::error::Error for DiskError {}

/// The end of a request. Dropping it does not undo the request; memory that a device may still
/// use is kept by the disk.
pub type DiskFuture = Pin<Box<dyn Future<Output = Result<(), DiskError>>>>;

/// A disk: a device, a part of one, or something made of several.
///
/// Requests under way at the same time may be done in any order, as on real disks.
pub trait Disk {
    /// What it is like. It does not change.
    fn geometry(&self) -> Geometry;

    /// Takes a request. A disk made of others may begin only when the future is first polled; it
    /// kicks those itself, then.
    fn submit(&self, request: DiskRequest) -> DiskFuture;

    /// Whether it looks at the bytes of pieces itself, rather than only telling a device where they
    /// lie. Pieces for a disk that does not may be out of the program's own reach.
    fn needs_bytes(&self) -> bool {
        true
    }

    /// Tells the device about all that was submitted: a driver may save this for the last of
    /// several requests. Whoever submits calls it, and only then polls what it has submitted.
    fn kick(&self) {}
}
