//! Two virtual CPUs, and user mode under a root of its own.
//!
//! Checks that a second virtual CPU starts, that both wake each other by events,
//! that user code reaches the kernel by system call, exception and event, and
//! that registers survive each way. Verdict line: `verdict: ok` or `verdict: failed: …`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-smp is a kernel: build it for x86_64-unknown-none");
}
