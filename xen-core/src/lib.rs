#![doc = include_str!("../README.md")]
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
