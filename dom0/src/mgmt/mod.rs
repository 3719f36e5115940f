//! The management channel: `xl` for people on the host, over a byte stream.

pub mod frame;
pub mod protocol;
