//! Asks for everything about traps and CPU state that a guest may not have.
//!
//! Checks that each attempt is answered as documented: an exception in the guest, a refusal, or a
//! value made safe; and that the guest lives on. Verdict line: `verdict: traps: <n> held`, or
//! `verdict: failed: <first attempt that was not answered so>`. With `stay`
//! on its command line it waits to be destroyed afterwards.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![cfg_attr(target_os = "none", deny(unsafe_code))]

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "a test guest misbehaves on purpose")]
mod arch;
#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-traps is a kernel: build it for x86_64-unknown-none");
}
