//! What a grant allows.

use guest_abi::{
    DomId, Errno, Mfn,
    grant_table::{GTF_PERMIT_ACCESS, GrantEntryFlags, GrantEntryV1},
};

/// What the other domain may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
}

impl Permit {
    pub(super) fn flags(self) -> u16 {
        match self {
            Self::Read => GTF_PERMIT_ACCESS | GrantEntryFlags::READONLY.bits(),
            Self::ReadWrite => GTF_PERMIT_ACCESS,
        }
    }

    /// The entry that lets a domain do so with a frame.
    pub(crate) fn entry(self, domain: DomId, frame: Mfn) -> Result<GrantEntryV1, Errno> {
        Ok(GrantEntryV1 {
            flags: self.flags(),
            domid: domain.into(),
            frame: u32::try_from(frame.get()).map_err(|_| Errno::E2BIG)?,
        })
    }
}
