//! Why the store refuses, in the words its clients know.

use core::fmt;

/// A refusal. On the wire it travels as the *name* of the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request makes no sense (malformed path, permission, number).
    Invalid,
    /// The caller may not do this.
    Denied,
    /// There is something of that name already.
    Exists,
    /// There is nothing of that name.
    NotFound,
    /// A quota of the caller is used up.
    NoSpace,
    /// No such request.
    Unknown,
    /// Not in the state for this (a transaction inside a transaction).
    Busy,
    /// The transaction lost against somebody else's change; start it again.
    Again,
    /// The answer or the value is too big.
    TooBig,
}

impl Error {
    /// The errno name that goes on the wire.
    pub fn wire_name(self) -> &'static str {
        match self {
            Self::Invalid => "EINVAL",
            Self::Denied => "EACCES",
            Self::Exists => "EEXIST",
            Self::NotFound => "ENOENT",
            Self::NoSpace => "ENOSPC",
            Self::Unknown => "ENOSYS",
            Self::Busy => "EBUSY",
            Self::Again => "EAGAIN",
            Self::TooBig => "E2BIG",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire_name())
    }
}

impl core::error::Error for Error {}
