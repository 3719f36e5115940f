//! Verifies, measures or attacks its disk, as the first word of the command line says.
//!
//! - `verify [ops=N] [span=SECTORS] [depth=N] [seed=N]`: random reads, writes, flushes and discards,
//!   many in flight, each sector held against a model in memory. Without `ops` it goes on until the
//!   toolstack asks it to shut down. It bears being unplugged, plugged in again, and a backend that
//!   starts anew.
//! - `durable [slots=N] [ops=N]`: writes numbered blocks and flushes; `durable N` on the console is a
//!   promise that a power cut must not break. `first=F` tells where this run began.
//! - `check first=F last=N [slots=N]`: after a power cut, holds the disk against that promise.
//! - `read-sector SECTOR`: prints the first bytes of a sector.
//! - `bench-read N`, `bench-write N` (4 KiB at random), `bench-seq N` (1 MiB in a row), with
//!   `depth=N`: ticks of the time-stamp counter for each operation, which are instructions of the
//!   whole machine when it counts them.
//! - `hostile`: breaks the rules in each way there is; `attack NAME done: …` after each.
//!
//! Further: `disk=NUMBER` (the first one), `queues=N`, `ring-order=N`, `segments=N`, `transient`
//! (no persistent grants). Verdict line: `verdict: ok …` or `verdict: failed: …`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![cfg_attr(
    not(target_os = "none"),
    allow(
        dead_code,
        reason = "the kernel, which uses it, is for bare metal only"
    )
)]

extern crate alloc;

#[cfg(target_os = "none")]
mod kernel;
mod model;
mod numbered;
mod random;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-disk is a kernel: build it for x86_64-unknown-none");
}
