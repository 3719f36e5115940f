//! Radon's ring-0 core: who exists, what memory they may touch, when they run.
//!
//! The rules of the house:
//! - everything but [`arch`] is safe Rust and runs under `cargo test` on a host, where
//!   `arch/fake.rs` stands in for the machine;
//! - a hypercall enters in [`arch`], is looked up in [`hypercall`], decided in the folder of its
//!   noun ([`mm`], [`event`], [`grant`], [`sched`], [`domain`]), and leaves through [`arch`] again;
//! - guest memory is only ever copied, never referenced ([`hypercall::guest_ptr`]);
//! - nothing that a guest can do panics.
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]

extern crate alloc;

#[expect(
    unsafe_code,
    reason = "the unsafe floor: instructions, raw memory, registers"
)]
pub mod arch;
pub mod boot;
pub mod cpu;
pub mod debug;
pub mod domain;
pub mod effect;
pub mod event;
pub mod grant;
pub mod hypercall;
pub mod mm;
pub mod sched;
pub mod sync;
pub mod time;
pub mod trap;
