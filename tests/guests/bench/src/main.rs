//! What the ways into the hypervisor and back cost, in ticks of the time-stamp counter.
//!
//! On a host that counts instructions (`cargo xtask up --icount`) a tick is one executed
//! instruction, and the figures repeat exactly. One line for each figure, the guest's own share
//! (stub, frame handling of `frontends`) included; then `verdict: ok` or `verdict: failed: …`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
#[expect(
    unsafe_code,
    reason = "hypercalls that change mappings, and lone instructions"
)]
mod arch;
#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-bench is a kernel: build it for x86_64-unknown-none");
}
