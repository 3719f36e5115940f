//! Network device messages.
//!
//! Mind that the meanings of flag bits 0 and 1 are exchanged between the two directions.

use crate::ids::GrantRef;

/// Slots any packet may take.
pub const NR_SLOTS_MIN: usize = 18;
/// The longest packet.
pub const MAX_TX_SIZE: usize = 0xffff;

wire_enum! {
    /// How a request ended, where a response does not carry a length.
    pub enum NetStatus: i16 {
        Dropped = -2,
        Error = -1,
        Okay = 0,
        /// The slot held no request.
        Null = 1,
    }
}

wire_enum! {
    /// What an [`ExtraInfo`] tells.
    pub enum ExtraType: u8 {
        None = 0,
        Gso = 1,
        McastAdd = 2,
        McastDel = 3,
        Hash = 4,
    }
}

/// Flag of [`ExtraInfo`]: another follows.
pub const EXTRA_FLAG_MORE: u8 = 1;
/// `gso_type`: none.
pub const GSO_TYPE_NONE: u8 = 0;
/// `gso_type`: TCP over IPv4.
pub const GSO_TYPE_TCPV4: u8 = 1;
/// `gso_type`: TCP over IPv6.
pub const GSO_TYPE_TCPV6: u8 = 2;

bitflags::bitflags! {
    /// `flags` of [`TxRequest`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TxFlags: u16 {
        /// The checksum is still to be computed.
        const CSUM_BLANK = 1 << 0;
        /// The data is known to be good.
        const DATA_VALIDATED = 1 << 1;
        /// The packet goes on in the next slot.
        const MORE_DATA = 1 << 2;
        /// An [`ExtraInfo`] takes the next slot.
        const EXTRA_INFO = 1 << 3;
    }

    /// `flags` of [`RxResponse`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RxFlags: u16 {
        /// The data is known to be good.
        const DATA_VALIDATED = 1 << 0;
        /// The checksum is still to be computed.
        const CSUM_BLANK = 1 << 1;
        /// The packet goes on in the next slot.
        const MORE_DATA = 1 << 2;
        /// An [`ExtraInfo`] takes the next slot.
        const EXTRA_INFO = 1 << 3;
        /// An [`ExtraInfo`] was in the slot before, in an old way.
        const GSO_PREFIX = 1 << 4;
    }
}

abi! {
    /// A piece of a packet from the frontend.
    pub struct TxRequest: 12 {
        0 => gref: GrantRef,
        4 => offset: u16,
        /// [`TxFlags`].
        6 => flags: u16,
        8 => id: u16,
        /// In the first slot the length of the whole packet, in others that of the piece.
        10 => size: u16,
    }

    /// Segmentation of a packet, in the slot after its first.
    pub struct ExtraInfo: 8 {
        /// [`ExtraType`].
        0 => kind: u8,
        /// [`EXTRA_FLAG_MORE`] or nothing.
        1 => flags: u8,
        /// The segment size.
        2 => gso_size: u16,
        4 => gso_type: u8,
        #[doc(hidden)]
        5 => _pad0: u8,
        6 => gso_features: u16,
    }

    /// The answer to a [`TxRequest`].
    pub struct TxResponse: 4 {
        0 => id: u16,
        /// [`NetStatus`].
        2 => status: i16,
    }

    /// A page for a packet to the frontend.
    pub struct RxRequest: 8 {
        0 => id: u16,
        #[doc(hidden)]
        2 => _pad0: u16,
        4 => gref: GrantRef,
    }

    /// A piece of a packet to the frontend.
    pub struct RxResponse: 8 {
        0 => id: u16,
        2 => offset: u16,
        /// [`RxFlags`].
        4 => flags: u16,
        /// Bytes, or a negative [`NetStatus`].
        6 => status: i16,
    }
}
