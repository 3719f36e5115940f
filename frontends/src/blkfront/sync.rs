//! The verbs that wait: read, write, flush, discard.

use alloc::vec::Vec;
use core::fmt;

use guest_abi::{Errno, PAGE_SIZE, VcpuId, io::blkif::SECTOR_SIZE};

use super::{
    Blkfront, Completion, Failure, Invalid, Operation, Request, RequestId, SECTORS_PER_PAGE,
    Segment, SubmitError,
};
use crate::{events, xenbus::DeviceError};

/// Why a verb has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The request makes no sense for this disk.
    Invalid(Invalid),
    /// The request has failed.
    Failed(Failure),
    /// There is no memory for it.
    NoMemory(Errno),
    /// The backend is broken.
    Device(DeviceError),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) => write!(f, "{why}"),
            Self::Failed(why) => write!(f, "{why}"),
            Self::NoMemory(errno) => f.write_str(errno.name()),
            Self::Device(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for DiskError {}

impl From<DeviceError> for DiskError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl Blkfront {
    /// Reads whole sectors from `sector` on.
    ///
    /// # Errors
    ///
    /// When the request makes no sense or fails.
    pub fn read(&mut self, mut sector: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let most = self.geometry.max_segments * PAGE_SIZE;
        for piece in into.chunks_mut(most) {
            let segments = self.segments(piece.len())?;
            let request = Request::transfer(Operation::Read, sector, segments);
            let done = self.perform(request)?;
            for (segment, bytes) in done
                .request
                .segments
                .iter()
                .zip(piece.chunks_mut(PAGE_SIZE))
            {
                segment.page.read(0, bytes);
            }
            self.finish(done)?;
            sector += (piece.len() / SECTOR_SIZE) as u64;
        }
        Ok(())
    }

    /// Writes whole sectors from `sector` on. They are durable after a flush.
    ///
    /// # Errors
    ///
    /// When the request makes no sense or fails.
    pub fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        self.write_as(Operation::Write, sector, from)
    }

    /// Writes whole sectors, which are durable on return.
    ///
    /// # Errors
    ///
    /// When the request makes no sense or fails, or the disk cannot promise durability.
    pub fn write_durably(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        if self.geometry.features.barrier {
            return self.write_as(Operation::Barrier, sector, from);
        }
        self.write(sector, from)?;
        self.flush()
    }

    fn write_as(
        &mut self,
        operation: Operation,
        mut sector: u64,
        from: &[u8],
    ) -> Result<(), DiskError> {
        let most = self.geometry.max_segments * PAGE_SIZE;
        for piece in from.chunks(most) {
            let segments = self.segments(piece.len())?;
            for (segment, bytes) in segments.iter().zip(piece.chunks(PAGE_SIZE)) {
                segment.page.write(0, bytes);
            }
            let done = self.perform(Request::transfer(operation, sector, segments))?;
            self.finish(done)?;
            sector += (piece.len() / SECTOR_SIZE) as u64;
        }
        Ok(())
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    ///
    /// When the disk cannot, or fails.
    pub fn flush(&mut self) -> Result<(), DiskError> {
        let done = self.perform(Request::flush())?;
        self.finish(done)
    }

    /// Forgets sectors.
    ///
    /// # Errors
    ///
    /// When the disk cannot, or fails.
    pub fn discard(&mut self, sector: u64, sectors: u64) -> Result<(), DiskError> {
        let done = self.perform(Request::discard(sector, sectors))?;
        self.finish(done)
    }

    /// Pages for so many bytes, which are whole sectors.
    fn segments(&mut self, bytes: usize) -> Result<Vec<Segment>, DiskError> {
        if !bytes.is_multiple_of(SECTOR_SIZE) {
            return Err(DiskError::Invalid(Invalid::Unaligned));
        }
        let mut sectors = bytes / SECTOR_SIZE;
        let mut segments = Vec::new();
        while sectors > 0 {
            let page = self.page().map_err(DiskError::NoMemory)?;
            let here = u8::try_from(sectors).map_or(SECTORS_PER_PAGE, |s| s.min(SECTORS_PER_PAGE));
            segments.push(Segment {
                page,
                first: 0,
                sectors: here,
            });
            sectors -= usize::from(here);
        }
        Ok(segments)
    }

    /// Submits a request and waits until it has ended; what ends meanwhile is kept for
    /// [`complete`](Self::complete).
    ///
    /// # Errors
    ///
    /// When it makes no sense, or the backend is broken. Whether it has succeeded, the completion
    /// says.
    pub fn perform(&mut self, mut request: Request) -> Result<Completion, DiskError> {
        loop {
            match self.submit(request) {
                Ok(id) => return self.wait_for(id),
                Err(SubmitError::Busy(_)) if self.is_idle() => {
                    // Nothing will free a place: the device is closed.
                    return Err(DiskError::Failed(Failure::Closed));
                }
                Err(SubmitError::Busy(again)) => {
                    request = again;
                    self.kick();
                    self.wait()?;
                }
                Err(SubmitError::Invalid(_, why)) => return Err(DiskError::Invalid(why)),
            }
        }
    }

    fn wait_for(&mut self, id: RequestId) -> Result<Completion, DiskError> {
        self.kick();
        loop {
            let found = self.done.iter().position(|done| done.id == id);
            if let Some(done) = found.and_then(|index| self.done.remove(index)) {
                return Ok(done);
            }
            self.wait()?;
        }
    }

    /// Sleeps until another request has ended, which [`complete`](Self::complete) then tells.
    /// Returns at once if nothing is in flight.
    ///
    /// Only for kernels that have nothing else to do: it hears of answers, not of xenstore.
    ///
    /// # Errors
    ///
    /// When the backend broke the protocol.
    pub fn wait(&mut self) -> Result<(), DeviceError> {
        loop {
            let before = self.done.len();
            while let Some(done) = self.poll()? {
                self.done.push_back(done);
            }
            if self.done.len() != before || self.is_idle() {
                return Ok(());
            }
            if !self.arm() {
                self.sleep();
            }
        }
    }

    /// Sleeps until a ring's port fires.
    fn sleep(&self) {
        if let [lane] = &self.lanes[..] {
            return lane.channel.wait();
        }
        let ports: Vec<_> = self.ports().collect();
        events::wait_for_any(VcpuId::new(0), &ports);
    }

    /// Keeps the pages of a request for the next one; how it ended.
    fn finish(&mut self, done: Completion) -> Result<(), DiskError> {
        self.recycle(done.request);
        done.result.map_err(DiskError::Failed)
    }
}
