#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(
    not(target_os = "none"),
    allow(
        dead_code,
        reason = "start of day, which uses it, is for bare metal only"
    )
)]

extern crate alloc;

#[expect(unsafe_code, reason = "the floor: entry, traps, memory, hypercalls")]
pub mod arch;
pub mod balloon;
pub mod blkfront;
mod byte_ring;
pub mod channel;
pub mod console;
pub mod events;
pub mod grants;
mod kept;
pub mod netfront;
mod places;
pub mod ring;
pub mod sched;
pub mod start;
pub mod time;
pub mod traps;
pub mod xenbus;

pub use arch::{memory, window};
#[cfg(target_os = "none")]
pub use arch::{smp, user};
pub use guest_abi;
