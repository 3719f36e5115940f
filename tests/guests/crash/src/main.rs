//! Dies in the way its command line names, so that its death can be watched.
//!
//! Checks that a crash takes only its own domain. Prints `about to <way>` first;
//! the ways are:
//!
//! - `order` (without any): asks for a shutdown with the reason *crash*;
//! - `panic`: the same after a Rust panic;
//! - `fault`: touches unmapped memory, with a handler that panics;
//! - `unhandled`: the same without any exception handler, which is fatal;
//! - `stack`: runs with a stack pointer on which no frame can be pushed;
//! - `loop`: never ends and never answers, with upcalls masked.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-crash is a kernel: build it for x86_64-unknown-none");
}
