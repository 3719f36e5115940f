//! The unsafe floor of a guest kernel: start of day, traps, memory, hypercalls.
//!
//! Everything above calls it through safe functions: each asks for a type that
//! proves what the instruction below needs (an owned [`Page`](memory::Page), a
//! [`Mapping`](window::Mapping), an argument without pointers).

pub mod bytes;
#[cfg(target_os = "none")]
mod heap;
pub mod hypercall;
pub(crate) mod lent;
pub mod memory;
pub mod misbehave;
pub mod page_table;
pub(crate) mod shared;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub(crate) mod trap;
#[cfg(target_os = "none")]
pub mod user;
pub mod window;
