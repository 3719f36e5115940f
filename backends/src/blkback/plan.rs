//! Transfers on their way to the disk: what lies side by side goes there as one.

use alloc::vec::Vec;

use super::validate::Tag;
use crate::host::{DiskRequest, Piece};

/// Most pieces of one disk request: 1 MiB of whole pages.
const MAX_PIECES: usize = 256;

/// One of the frontend's requests, while the disk works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The ring it came from.
    pub(super) queue: usize,
    pub(super) tag: Tag,
    pub(super) sectors: u64,
    /// Pages it holds.
    pub(super) pages: usize,
}

/// Requests that the disk does as one. Nearly always there is only one.
#[derive(Debug)]
pub(super) struct Members {
    first: Member,
    rest: Vec<Member>,
}

impl Members {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        core::iter::once(&self.first).chain(&self.rest)
    }
}

impl From<Member> for Members {
    fn from(first: Member) -> Self {
        let rest = Vec::new();
        Self { first, rest }
    }
}

/// Checked transfers, one after the other on the disk.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) write: bool,
    pub(super) sector: u64,
    sectors: u64,
    pieces: Vec<Piece>,
    pub(super) members: Members,
}

impl Transfer {
    pub(super) fn new(write: bool, sector: u64, pieces: Vec<Piece>, member: Member) -> Self {
        Self {
            write,
            sector,
            sectors: member.sectors,
            pieces,
            members: member.into(),
        }
    }

    /// Whether `next` goes on where this ends, and both are not too much for one request.
    pub(super) fn continues_in(&self, next: &Self) -> bool {
        self.write == next.write
            && self.sector.checked_add(self.sectors) == Some(next.sector)
            && self.pieces.len() + next.pieces.len() <= MAX_PIECES
    }

    /// Takes `next` in, which [continues](Self::continues_in) this.
    pub(super) fn append(&mut self, next: Self) {
        self.sectors += next.sectors;
        self.pieces.extend(next.pieces);
        self.members.rest.push(next.members.first);
        self.members.rest.extend(next.members.rest);
    }

    /// The disk's request, and who is to be answered.
    pub(super) fn into_request(self, durable: bool) -> (DiskRequest, Members) {
        let Self {
            write,
            sector,
            pieces,
            members,
            ..
        } = self;
        let request = match write {
            false => DiskRequest::Read { sector, pieces },
            true => DiskRequest::Write {
                sector,
                pieces,
                durable,
            },
        };
        (request, members)
    }
}
