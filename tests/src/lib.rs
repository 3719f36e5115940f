#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
mod debian;
mod disk_file;
mod host;
mod rounds;
mod slots;
mod standalone;
mod wait;

pub use check::Usage;
pub use debian::{BAD_WORDS, Debian, Running, Way, part};
pub use disk_file::DiskFile;
pub use host::{Host, Outcome, image, kernel, ramdisk, workspace, xtask};
pub use rounds::rounds;
pub use standalone::{Firmware, Standalone};
pub use wait::{Patience, until};
