//! The physical network card.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::task::{Context, Poll};

use super::Piece;

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// It as one number, which orders addresses as their bytes do.
    const fn number(self) -> u64 {
        let [a, b, c, d, e, g] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, g])
    }

    /// Whether it names several: multicast or broadcast.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl Ord for MacAddress {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for MacAddress {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A network card. It has no offloads: frames are whole, with their checksums.
pub trait Nic {
    /// Its address.
    fn mac(&self) -> MacAddress;

    /// The longest packet that its network is known to carry, without the Ethernet header: what
    /// those who send through it are told.
    fn mtu(&self) -> u16;

    /// The longest frame that it takes, without checksum, in bytes. It may take longer ones than
    /// its MTU says.
    fn max_frame(&self) -> usize;

    /// Sends a frame: the pieces of dom0's own memory, one after the other. The card keeps them
    /// until they are sent. Returns `false`, and drops the frame, when there is no room.
    fn transmit(&self, frame: &[Piece]) -> bool;

    /// Tells the device about all that was handed over since.
    fn kick(&self) {}

    /// Adds the next frame that came in to `pieces`: it lies in the new ones, one after the other.
    /// Dropping a piece gives its page back to the card.
    fn poll_receive(&self, context: &mut Context<'_>, pieces: &mut Vec<Piece>) -> Poll<()>;
}
