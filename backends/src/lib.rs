//! The back ends of the split drivers, and the xenstore server.
//!
//! Everything here faces guests that may do anything, and nothing here knows what machine it
//! runs on: a backend is generic over the small traits of [`host`], so the same code runs under
//! `cargo test` on a laptop and in dom0 for real.
//!
//! * [`xenstore`]: the tree in which the parts of a domain find each other
//! * [`console`]: what a guest prints and what is typed at it
//! * [`host`]: what a backend asks of its host
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod console;
pub mod host;
pub mod xenstore;
