//! One request of a disk's user, and how much of it is done.

use alloc::vec::Vec;
use core::task::Waker;

use backends::host::{DiskError, DiskRequest, Piece, SECTOR_SIZE};

/// What the device is asked to do: numbers of virtio 1.2, 5.2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Read = 0,
    Write = 1,
    Flush = 4,
    Discard = 11,
}

/// A request, done in as many parts as the device needs.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) command: Command,
    /// What is still to be asked of the device: from where, and how many sectors (to forget), …
    pub(super) sector: u64,
    pub(super) sectors: u64,
    /// … or which bytes: from this many of this piece on. All pieces are kept until the end.
    pieces: Vec<Piece>,
    piece: usize,
    skip: usize,
    /// A flush is still to be asked for.
    pub(super) flush: bool,
    /// Flush when all parts are written.
    pub(super) durable: bool,
    /// Parts that the device has.
    pub(super) parts: u32,
    /// It waits for room on the ring.
    pub(super) is_waiting: bool,
    pub(super) failure: Option<DiskError>,
    pub(super) is_done: bool,
    /// Nobody wants to know how it ends.
    pub(super) is_abandoned: bool,
    pub(super) waker: Option<Waker>,
}

impl Ticket {
    /// A request of which nothing is done.
    pub(super) fn new(request: DiskRequest) -> Self {
        let (command, sector) = match &request {
            DiskRequest::Read { sector, .. } => (Command::Read, *sector),
            DiskRequest::Write { sector, .. } => (Command::Write, *sector),
            DiskRequest::Flush => (Command::Flush, 0),
            DiskRequest::Discard { sector, .. } => (Command::Discard, *sector),
        };
        let (mut pieces, mut sectors, mut is_durable) = (Vec::new(), 0, false);
        match request {
            DiskRequest::Read { pieces: data, .. } => pieces = data,
            DiskRequest::Write {
                pieces: data,
                durable,
                ..
            } => (pieces, is_durable) = (data, durable),
            DiskRequest::Discard { sectors: count, .. } => sectors = count,
            DiskRequest::Flush => {}
        }
        Self {
            command,
            sector,
            sectors,
            pieces,
            piece: 0,
            skip: 0,
            flush: command == Command::Flush,
            durable: is_durable,
            parts: 0,
            is_waiting: false,
            failure: None,
            is_done: false,
            is_abandoned: false,
            waker: None,
        }
    }

    /// Whether nothing is left to ask of the device.
    pub(super) fn is_asked(&self) -> bool {
        self.failure.is_some()
            || (self.piece >= self.pieces.len() && self.sectors == 0 && !self.flush)
    }

    /// Whether the device is done with all that it was asked.
    pub(super) fn is_over(&self) -> bool {
        self.parts == 0 && self.is_asked() && !self.is_waiting
    }

    /// How many pieces are not asked for.
    pub(super) fn pieces_left(&self) -> usize {
        self.pieces.len() - self.piece
    }

    /// The next bytes to ask for: where they are, and how many.
    pub(super) fn next_bytes(&self, limit: u32) -> Option<(u64, u32)> {
        let piece = self.pieces.get(self.piece)?;
        let left = piece.len.saturating_sub(self.skip);
        let len = u32::try_from(left).unwrap_or(u32::MAX).min(limit);
        Some((piece.address() + self.skip as u64, len))
    }

    /// So many bytes more are asked for.
    pub(super) fn advance(&mut self, len: u32) {
        self.sector += u64::from(len) / SECTOR_SIZE as u64;
        self.skip += len as usize;
        let is_asked = |piece: &Piece| self.skip >= piece.len;
        if self.pieces.get(self.piece).is_some_and(is_asked) {
            self.piece += 1;
            self.skip = 0;
        }
    }

    /// Lets go of the memory.
    pub(super) fn end(&mut self) -> Option<Waker> {
        self.is_done = true;
        self.pieces = Vec::new();
        self.piece = 0;
        self.waker.take()
    }
}
