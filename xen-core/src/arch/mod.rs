//! The unsafe floor: the machine, or a fake of it for tests on a host.
#[cfg(not(target_os = "none"))]
mod fake;
#[cfg(target_os = "none")]
mod x86_64;
#[cfg(not(target_os = "none"))]
pub use fake::{guest_memory, poll, power};
#[cfg(target_os = "none")]
pub use x86_64::{guest_memory, poll, power};
