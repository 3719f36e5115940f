//! Makes hypercalls at random: all 64 numbers, with arguments that are next to right.
//!
//! Checks that no such call harms anybody else. The guest itself may well die of them: the host
//! and its invariants are what counts. A second vCPU, if there is one, does the same at the same
//! time. Command line: `seed=N` chooses the sequence, `calls=N` its length, `only=N` one number;
//! `last=iret` ends with a return to a random state. Verdict line, for those who live to print
//! it: `verdict: <n> calls made`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod kernel;
#[cfg(any(target_os = "none", test))]
mod random;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-fuzz is a kernel: build it for x86_64-unknown-none");
}
