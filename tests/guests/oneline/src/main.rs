//! Prints one line and is gone at once, before anybody can have read it.
//!
//! Checks that the console keeps what a domain wrote until after its end.
//! Verdict line: `last words`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-oneline is a kernel: build it for x86_64-unknown-none");
}
