//! Says hello, then powers off: the smallest whole guest.
//!
//! Checks start of day, the console and xenstore. Verdict line:
//! `hello from <name>`, where the name is the domain's own in xenstore, or the
//! hypervisor's version where there is no xenstore. With `stay` on its command
//! line it lives on until the toolstack asks it to shut down or reboot.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-hello is a kernel: build it for x86_64-unknown-none");
}
