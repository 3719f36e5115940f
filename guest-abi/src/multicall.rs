//! `multicall`: several hypercalls in one.

abi! {
    /// One call of a batch.
    pub struct MulticallEntry: 64 {
        /// The number.
        0 => op: u64,
        /// Out: the result register, signed in Linux.
        8 => result: i64,
        16 => args: [u64; 6],
    }
}
