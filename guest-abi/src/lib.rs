//! The Xen public ABI for 64-bit x86 PV guests, at the level of Xen 4.17.
//!
//! This crate is what guests and the core agree on: numbers, struct layouts, ring arithmetic and
//! the hypercall stubs. It is plain data and holds no policy: whoever reads one of these structs
//! decides what it is worth.
//!
//! The rule it keeps: every struct states its size and offsets where it is declared (the [`abi!`]
//! macro turns them into compile-time assertions), and a test of the workspace compares each of
//! them, and every number, with the C headers of Debian's `libxen-dev`.
//!
//! Names are Xen's, in Rust's spelling; the C name stands in the documentation where the two are
//! far apart. Padding is spelled out (`_pad…`, zero by default), so every struct is valid for any
//! bytes and can be viewed as bytes without `unsafe`.
//!
//! [`abi!`]: crate#declaring-structs
//!
//! # Declaring structs
//!
//! ```text
//! abi! {
//!     /// `EVTCHNOP_alloc_unbound`: opens a port that `remote_dom` may bind.
//!     pub struct AllocUnbound: 8 {
//!         0 => dom: DomIdArg,
//!         2 => remote_dom: DomIdArg,
//!         4 => port: Port,
//!     }
//! }
//! ```
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
