//! Has as much memory as the toolstack wants: `memory/target` up and down.
//!
//! Fills pages with known words, lets the balloon take what is free and give it back, and holds what
//! it kept against what it wrote. Each time the target is reached it says `balloon: N pages`. With
//! `pages=N` on its command line it ends at the first target of N pages. Verdict line: `verdict: ok`
//! or `verdict: failed: …`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-balloon is a kernel: build it for x86_64-unknown-none");
}
