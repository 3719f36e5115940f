//! What the disk is doing for whom.

use guest_abi::io::blkif::BlkStatus;

use super::order::Changes;
use super::plan::Members;
use crate::host::DiskError;

/// What the disk was asked for, and by whom.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) kind: Kind,
    pub(super) members: Members,
    /// What it makes durable, if it does.
    pub(super) covers: Changes,
}

/// What it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Flush,
    /// A flush that others wait for.
    FlushBarrier,
    /// A durable write that others wait for.
    WriteBarrier,
    Discard,
}

impl Kind {
    pub(super) fn is_transfer(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }

    /// What the guest is told. That something isn't supported makes it do without; reads and
    /// writes always are.
    pub(super) fn status(self, result: Result<(), DiskError>) -> BlkStatus {
        match result {
            Ok(()) => BlkStatus::Okay,
            Err(DiskError::Unsupported) if !self.is_transfer() => BlkStatus::Eopnotsupp,
            Err(_) => BlkStatus::Error,
        }
    }
}
