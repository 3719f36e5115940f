//! Dies in the way its command line names, so that its death can be watched.
//!
//! Checks that a crash takes only its own domain. Prints `about to <way>` first;
//! the ways are:
//!
//! - `shutdown` (without any): asks for a shutdown with the reason *crash*;
//! - `panic`: the same after a Rust panic;
//! - `fault`: touches unmapped memory without an exception handler;
//! - `stack`: runs with a stack pointer on which no frame can be pushed;
//! - `tables`: unmaps its own image, the running code included;
//! - `pointers`: hands wild pointers to hypercalls, then asks to be crashed;
//! - `spin`: prints `spinning`, then loops for ever with upcalls masked.
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
