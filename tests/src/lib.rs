#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
mod host;
mod slots;
mod wait;

pub use check::Usage;
pub use host::{Host, Outcome, image, kernel, ramdisk};
pub use wait::{Patience, until};
