//! The management channel: how the host drives dom0 from outside.

pub mod frame;
pub mod protocol;
pub mod server;
#[cfg(test)]
mod server_tests;
mod session;
