//! Everything around the machine: set-up, build, hosts in QEMU, tests, the demo.
//!
//! One verb a file; `cargo xtask help` lists them. What the tests need as well is public here: a
//! [`machine::Machine`] is a host in QEMU, a [`client::Session`] is one run of dom0's `xl`.
//!
//! Rules: nothing is ended but what was started here, by its own process number; what is found
//! missing is named in one line that says how to get it; progress goes to the standard error
//! output, results to the standard output.
#![forbid(unsafe_code)]

pub mod build;
pub mod client;
pub mod command;
pub mod demo;
pub mod down;
pub mod image;
pub mod keep;
pub mod machine;
pub mod paths;
pub mod progress;
pub mod run;
pub mod setup;
pub mod test;
pub mod up;
pub mod xl;
