//! xenstore's page and messages.

/// Bytes of each of the two streams.
pub const RING_SIZE: usize = 1024;
/// The longest payload of a message.
pub const PAYLOAD_MAX: usize = 4096;
/// The longest absolute path.
pub const ABS_PATH_MAX: usize = 3072;
/// The longest relative path.
pub const REL_PATH_MAX: usize = 2048;

/// `server_features`: the guest may ask for a fresh connection.
pub const SERVER_FEATURE_RECONNECTION: u32 = 1;
/// `server_features`: `error` is used.
pub const SERVER_FEATURE_ERROR: u32 = 2;
/// `connection`: all is well.
pub const CONNECTED: u32 = 0;
/// `connection`: the guest asks for a fresh one.
pub const RECONNECT: u32 = 1;
/// `error`: none.
pub const ERROR_NONE: u32 = 0;
/// `error`: the server could not be reached.
pub const ERROR_COMM: u32 = 1;
/// `error`: the guest's indices make no sense.
pub const ERROR_RINGIDX: u32 = 2;
/// `error`: the guest's message makes no sense.
pub const ERROR_PROTO: u32 = 3;

wire_enum! {
    /// What a message is.
    pub enum MessageType: u32 {
        Control = 0,
        Directory = 1,
        Read = 2,
        GetPerms = 3,
        Watch = 4,
        Unwatch = 5,
        TransactionStart = 6,
        TransactionEnd = 7,
        Introduce = 8,
        Release = 9,
        GetDomainPath = 10,
        Write = 11,
        Mkdir = 12,
        Rm = 13,
        SetPerms = 14,
        WatchEvent = 15,
        Error = 16,
        IsDomainIntroduced = 17,
        Resume = 18,
        SetTarget = 19,
        ResetWatches = 21,
        DirectoryPart = 22,
    }
}

abi! {
    /// In front of every message.
    pub struct MessageHeader: 16 {
        /// [`MessageType`].
        0 => kind: u32,
        /// The asker's; comes back in the answer.
        4 => req_id: u32,
        /// 0 outside a transaction.
        8 => tx_id: u32,
        /// Bytes that follow.
        12 => len: u32,
    }

    /// The xenstore page. Indices run freely; modulo the size they are places in the streams.
    pub struct XenstoreRing: 2076 {
        /// From the guest.
        0 => req: [u8; RING_SIZE],
        /// Towards the guest.
        1024 => rsp: [u8; RING_SIZE],
        2048 => req_cons: u32,
        2052 => req_prod: u32,
        2056 => rsp_cons: u32,
        2060 => rsp_prod: u32,
        2064 => server_features: u32,
        2068 => connection: u32,
        2072 => error: u32,
    }
}
