//! Whole systems in QEMU: real boots of real guests, asserting on what a user sees.
//!
//! Each scenario ends with `Host::assert_clean`: the invariant sweep and the leak check.
#![forbid(unsafe_code)]

mod bad_input;
mod channel;
mod crashes;
mod debian;
mod devices;
mod disks;
mod durability;
mod faults;
mod fuzz;
mod idle;
mod iso;
mod lifecycle;
mod many;
mod networks;
mod pv_grub;
mod reboots;
mod rust_disks;
mod traps;
