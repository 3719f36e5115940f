//! Seeing what the core does: its log, and what it says when it dies.

pub mod backtrace;
pub mod console;
pub mod keys;
pub mod log;
pub mod ring;
pub mod sweep;
pub mod symbols;
