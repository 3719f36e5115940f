#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod blkback;
pub mod console;
#[cfg(any(test, feature = "fake"))]
pub mod fuzzing;
pub mod host;
pub mod netback;
pub mod signal;
#[cfg(any(test, feature = "fake"))]
pub mod testing;
pub mod xenbus;
pub mod xenstore;
