//! Guest exceptions and privileged instructions.
//!
//! The guest runs in ring 3, so everything it raises arrives in the core first. Here it is decided
//! what that means to the guest: an instruction to emulate ([`emulate`]), a write to one of its
//! page tables ([`writable_table`]), or an entry of its kernel ([`bounce`]). The rules are pure and
//! run over [`machine::Machine`]; `arch` brings registers in and out.

pub mod bounce;
pub mod context;
pub mod cpuid;
pub mod debugreg;
pub mod decode;
pub mod descriptor;
pub mod emulate;
pub mod exception;
pub mod exit;
pub mod flags;
pub mod gdt;
pub mod gpr;
pub mod guest_tables;
pub mod io;
pub mod ldt;
pub mod machine;
pub mod msr;
pub mod rmw;
pub mod state;
pub mod table;
pub mod vcpu;
pub mod vector;
pub mod writable_table;

pub use context::VcpuContext;
pub use state::{Callback, EntryState};
pub use vcpu::{initialise, release, snapshot};
