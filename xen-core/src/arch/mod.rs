//! The unsafe floor: the machine, or a fake of it for tests on a host.

pub mod fault;
pub mod heap;
pub mod layout;
pub mod shared_page;

#[cfg(not(target_os = "none"))]
mod fake;
#[cfg(target_os = "none")]
mod x86_64;

#[cfg(not(target_os = "none"))]
pub use self::fake::*;
#[cfg(target_os = "none")]
pub use self::x86_64::*;

#[cfg(not(target_os = "none"))]
use self::fake::frame_address;
#[cfg(target_os = "none")]
use self::x86_64::frame_address;
