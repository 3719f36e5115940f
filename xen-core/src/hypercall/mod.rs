//! Hypercalls: one file a family, and the table that leads to them ([`enter`]).

mod batch;
pub mod callback_op;
pub mod console_io;
pub mod debugreg;
pub mod domctl;
pub mod event_channel_op;
mod flush;
pub mod fpu_taskswitch;
pub mod grant_table_op;
pub mod guest_ptr;
pub mod memory_op;
pub mod mmu_update;
pub mod mmuext_op;
pub mod multicall;
#[cfg(test)]
mod op_tests;
pub mod physdev_op;
pub mod platform_op;
pub mod sched_op;
pub mod set_callbacks;
pub mod set_gdt;
pub mod set_segment_base;
pub mod set_timer_op;
pub mod set_trap_table;
pub mod stack_switch;
pub mod sysctl;
mod table;
pub mod update_descriptor;
pub mod update_va_mapping;
pub mod vcpu_op;
pub mod vm_assist;
pub mod xen_version;

pub use table::enter;

use guest_abi::errno::Errno;
use guest_abi::ids::{DomId, DomIdArg};

use crate::domain::{self, Domain, DomainRef, VcpuRef};
use crate::effect::CrashReason;

/// Why a handler stopped before it was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The guest's mistake, or a limit: goes back as a negative number.
    Errno(Errno),
    /// Enough for now: the guest re-executes the call with the arguments that `Call::args` hold.
    Again,
    /// Past trusting: the domain ends.
    Crash(CrashReason),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// What a handler returns: the number for the guest's RAX, or why there is none.
pub type Reply = Result<i64, Stop>;

/// A hypercall under way: who asks, and with what.
#[derive(Debug)]
pub struct Call<'a> {
    /// The calling vCPU.
    pub vcpu: &'a VcpuRef,
    /// The argument registers: RDI, RSI, RDX, R10, R8, R9. A handler that answers
    /// [`Stop::Again`] leaves here what to resume with.
    pub args: [u64; 6],
}

impl<'a> Call<'a> {
    /// The calling domain.
    pub fn domain(&self) -> &'a Domain {
        self.vcpu.domain()
    }

    /// The domain that a wire value names: `DOMID_SELF` and the caller's own id are the caller;
    /// any other needs privilege.
    ///
    /// # Errors
    /// `EPERM` for a foreign id without privilege, whether or not such a domain exists; `ESRCH`
    /// when there is none.
    pub fn resolve(&self, arg: DomIdArg) -> Result<DomainRef, Errno> {
        let own = self.vcpu.domain_ref();
        if arg == DomIdArg::SELF || arg.get() == own.id.get() {
            return Ok(own.clone());
        }
        self.require_privilege()?;
        self.lookup(arg)
    }

    /// The domain that a wire value names, privilege apart: for operations that any domain may
    /// address to another (binding an event channel, mapping a grant).
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn lookup(&self, arg: DomIdArg) -> Result<DomainRef, Errno> {
        let own = self.vcpu.domain_ref();
        if arg == DomIdArg::SELF || arg.get() == own.id.get() {
            return Ok(own.clone());
        }
        domain::table::get(DomId::new(arg.get())).ok_or(Errno::ESRCH)
    }

    /// Refuses callers that are not the privileged domain.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn require_privilege(&self) -> Result<(), Errno> {
        if self.domain().privileged {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
}
