#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

#[expect(
    unsafe_code,
    reason = "tool hypercalls take pointers; devices write buffers"
)]
pub mod arch;
pub mod builder;
pub mod config;
pub mod devices;
pub mod drivers;
pub mod executor;
pub mod host;
pub mod hypervisor;
pub mod io;
#[cfg(target_os = "none")]
pub mod logging;
#[cfg(target_os = "none")]
pub mod machine;
pub mod mgmt;
#[cfg(target_os = "none")]
pub mod serial;
pub mod shell;
pub mod storage;
pub mod toolstack;
pub mod xl;
