#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
mod host;
mod slots;
mod standalone;
mod wait;

pub use check::Usage;
pub use host::{Host, Outcome, image, kernel, ramdisk, xtask};
pub use standalone::{Firmware, Standalone};
pub use wait::{Patience, until};
