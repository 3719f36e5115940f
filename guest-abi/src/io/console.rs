//! The page of the console: two byte streams.

/// Bytes of the stream towards the guest.
pub const IN_SIZE: usize = 1024;
/// Bytes of the stream from the guest.
pub const OUT_SIZE: usize = 2048;

abi! {
    /// The console page. Indices run freely; an index modulo the size is a place in the stream.
    pub struct ConsoleRing: 3088 {
        /// Towards the guest.
        0 => input: [u8; IN_SIZE],
        /// From the guest.
        1024 => output: [u8; OUT_SIZE],
        3072 => in_cons: u32,
        3076 => in_prod: u32,
        3080 => out_cons: u32,
        3084 => out_prod: u32,
    }
}
