//! Building dom0: the one domain that no toolstack builds.

#[cfg(target_os = "none")]
mod build;
pub mod kernel;

#[cfg(target_os = "none")]
pub use build::{BuildError, Parts, build};
