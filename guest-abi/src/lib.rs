#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![allow(
    missing_debug_implementations,
    reason = "zerocopy's derives make helper types without it; `abi!` derives it for ours"
)]

#[macro_use]
mod macros;

#[expect(
    unsafe_code,
    reason = "a hypercall is one instruction that only `asm!` can issue"
)]
pub mod call;
pub mod callback;
pub mod console_io;
pub mod cpuid;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod frame;
pub mod grant_table;
pub mod hypercall;
pub mod ids;
pub mod io;
pub mod layout;
pub mod memory;
pub mod mmu;
pub mod multicall;
pub mod physdev;
pub mod platform;
pub mod sched;
pub mod shared_info;
pub mod start_info;
pub mod sysctl;
pub mod trap;
pub mod vcpu;
pub mod version;
pub mod vm_assist;

pub use errno::Errno;
pub use frame::{GuestVirtAddr, MachAddr, Mfn, PAGE_SHIFT, PAGE_SIZE, Pfn};
pub use hypercall::{Hypercall, RawCall};
pub use ids::{DomId, DomIdArg, GrantHandle, GrantRef, Port, VcpuId, Virq};
/// The byte views all ABI structs offer, re-exported so that users name one crate only.
pub use zerocopy;
