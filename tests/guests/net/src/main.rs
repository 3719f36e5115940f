//! Serves, measures or attacks its network, as the first word of the command line says.
//!
//! - `echo [port=7]`: a TCP server that sends back what it gets; UDP too. For ever, or `ops=N`
//!   connections.
//! - `sink [port=9]`: takes TCP streams and says of each how much came, when the other end closes.
//!   For ever, or `ops=N` of them.
//! - `serve [port=19]`: the same, and gives: a client's first line is a number, and it gets that many
//!   bytes. What it sends after the line is taken.
//! - `source to=ADDRESS [port=9] [bytes=N]`: sends a stream, and says what a byte has cost.
//!   With `pattern` its bytes tell their places, and a `sink` with `pattern` looks at each.
//! - `ping to=ADDRESS [count=N]`: ICMP echo; says what a round trip has cost.
//! - `flood to=MAC [count=N] [size=N]`: raw frames as fast as they go.
//! - `hostile`: breaks the rules in each way there is; `attack NAME done: …` after each.
//!
//! The address: `ip=A.B.C.D/LEN [gateway=A.B.C.D]`, or DHCP without it; `address A.B.C.D/LEN` on the
//! console when there is one. Further: `vif=NUMBER` (the first one), `queues=N`, `small` (no frames
//! beyond a page). Verdict line: `verdict: ok …` or `verdict: failed: …`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod kernel;
#[cfg(any(target_os = "none", test))]
mod pattern;
#[cfg(any(target_os = "none", test))]
mod wanted;

#[cfg(target_os = "none")]
frontends::entry!(kernel::main);

#[cfg(not(target_os = "none"))]
fn main() {
    println!("guest-net is a kernel: build it for x86_64-unknown-none");
}
