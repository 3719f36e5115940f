//! What goes with a frame, and what comes with one.

use core::fmt;

use guest_abi::io::netif::RxFlags;

/// TCP that is to be cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Bytes of data in each piece.
    pub size: u16,
    /// Over IPv6, not 4.
    pub ipv6: bool,
}

/// What is left to the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The TCP or UDP checksum: its field holds the sum of the pseudo header.
    pub checksum_blank: bool,
    /// Segmentation; the checksum must be blank, too.
    pub gso: Option<Gso>,
}

/// What is known of a received frame's TCP or UDP checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: it is to be verified.
    #[default]
    Unknown,
    /// It is right.
    Right,
    /// It is blank; the data never left the machine and is right.
    Blank,
}

impl Checksum {
    pub(super) fn of(flags: RxFlags) -> Self {
        if flags.contains(RxFlags::CSUM_BLANK) {
            Self::Blank
        } else if flags.contains(RxFlags::DATA_VALIDATED) {
            Self::Right
        } else {
            Self::Unknown
        }
    }
}

/// What came with a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Its checksum.
    pub checksum: Checksum,
    /// It is TCP that was to be cut up into pieces of so many bytes, and was not.
    pub gso_size: Option<u16>,
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The ring is full, or memory has run out: wait for an event.
    Full,
    /// Longer than this card takes, or empty.
    TooLong,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no room",
            Self::TooLong => "longer than the card takes",
        })
    }
}
