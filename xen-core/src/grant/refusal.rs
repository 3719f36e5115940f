//! Why a grant is not used: a status for the caller, and a reason for the log.

use core::fmt;

use guest_abi::frame::Mfn;
use guest_abi::grant_table::{GTF_PERMIT_ACCESS, GTF_TYPE_MASK, GrantStatus};
use guest_abi::ids::DomId;

use crate::mm::pagetable::{self, TableError};

/// Why the core would not do what was asked with a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The entry, which reads so, grants nothing to the caller.
    NotGranted(u32),
    /// The entry grants reading only.
    ReadOnly,
    /// The granter does not stop changing the entry.
    Changing,
    /// The entry is in use by another domain.
    InUse(DomId),
    /// The entry is in use too often.
    TooOften,
    /// The frame granted cannot be had.
    Frame(pagetable::Refusal),
    /// The page-table entry cannot be changed so.
    Entry(pagetable::Refusal),
    /// No page-table entry of the caller lies there.
    NoEntry,
    /// The page-table entry does not map that frame, or not so.
    Elsewhere(Mfn),
    /// What its name says.
    Status(GrantStatus),
}

impl Refusal {
    /// The status that the ABI has for it.
    pub const fn status(self) -> GrantStatus {
        match self {
            Self::Status(status) => status,
            _ => GrantStatus::GeneralError,
        }
    }
}

impl From<GrantStatus> for Refusal {
    fn from(status: GrantStatus) -> Self {
        Self::Status(status)
    }
}

impl From<TableError> for Refusal {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Refused(refusal) => Self::Entry(refusal),
            // An entry that maps a frame leads to no table that would have to be checked.
            TableError::Again => Self::Status(GrantStatus::GeneralError),
        }
    }
}

impl PartialEq<GrantStatus> for Refusal {
    fn eq(&self, status: &GrantStatus) -> bool {
        self.status() == *status
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotGranted(word) => not_granted(f, word),
            Self::ReadOnly => f.write_str("it grants reading only"),
            Self::Changing => f.write_str("the granter keeps changing it"),
            Self::InUse(by) => write!(f, "d{by} uses it"),
            Self::TooOften => f.write_str("it is in use too often"),
            Self::Frame(refusal) => write!(f, "{refusal}"),
            Self::Entry(refusal) => write!(f, "page-table entry: {refusal}"),
            Self::NoEntry => f.write_str("there is no page-table entry for it"),
            Self::Elsewhere(frame) => {
                write!(f, "the page-table entry does not map frame {frame} so")
            }
            Self::Status(GrantStatus::BadDomain) => f.write_str("there is no such domain"),
            Self::Status(GrantStatus::BadGntref) => f.write_str("there is no such reference"),
            Self::Status(GrantStatus::BadHandle) => f.write_str("there is no such mapping"),
            Self::Status(GrantStatus::NoSpace) => f.write_str("no room for another mapping"),
            Self::Status(status) => write!(f, "{status:?}"),
        }
    }
}

fn not_granted(f: &mut fmt::Formatter<'_>, word: u32) -> fmt::Result {
    let [low, high, d0, d1] = word.to_le_bytes();
    if u16::from_le_bytes([low, high]) & GTF_TYPE_MASK == GTF_PERMIT_ACCESS {
        write!(f, "it grants to d{}", u16::from_le_bytes([d0, d1]))
    } else {
        write!(f, "it grants nothing ({word:#x})")
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;
    use guest_abi::grant_table::GrantStatus;

    #[test]
    fn a_refusal_has_a_status_for_the_guest_and_a_reason_for_the_log() {
        let other = Refusal::NotGranted(0x0007_0001);
        assert_eq!(other.status(), GrantStatus::GeneralError);
        assert_eq!(other.to_string(), "it grants to d7");
        let nothing = Refusal::NotGranted(0x0007_0000);
        assert_eq!(nothing.to_string(), "it grants nothing (0x70000)");
        let handle = Refusal::from(GrantStatus::BadHandle);
        assert_eq!(handle, GrantStatus::BadHandle);
        assert_eq!(handle.to_string(), "there is no such mapping");
    }
}
