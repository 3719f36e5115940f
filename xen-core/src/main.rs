//! The core as a bare-metal program.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the core runs on bare metal only: see cargo xtask run");
}
