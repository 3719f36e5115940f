//! dom0's binary: from the hypervisor's entry to the executor.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("dom0 is a kernel: build it for x86_64-unknown-none");
}
