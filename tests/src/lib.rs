//! The harness of the whole-system tests: boot a host, drive it as its user would, and check at
//! the end that nothing is broken and nothing leaked.
//!
//! Everything goes through `cargo xtask`: a test sees what a user sees, and nothing else.
#![forbid(unsafe_code)]

mod check;
mod host;
mod wait;

pub use check::Usage;
pub use host::{Host, Outcome, image, kernel, ramdisk};
pub use wait::{Patience, until};
