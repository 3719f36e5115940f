//! Tries to make page tables that must not come to be, and grant copies from nowhere.
//!
//! Checks that a guest gets no writable mapping of a table, no table that leads back to itself, no
//! frame that is not its own, and no table freed while it is pinned; that an array of copies is
//! carried out as far as it can be read and answered; and that what is asked for rightly is given.
//! Verdict line: `verdict: attacks: <n> held`, or `verdict: failed: <first
//! attempt that was not answered so>`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod calls;
#[cfg(target_os = "none")]
mod copies;
#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-attacks is a kernel: build it for x86_64-unknown-none");
}
