//! `console_io`: the emergency console.

wire_enum! {
    /// `console_io` commands; then come a count and a buffer.
    pub enum ConsoleIoOp: u32 {
        Write = 0,
        Read = 1,
    }
}
