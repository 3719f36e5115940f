//! Giving up the CPU, and ending the domain.

use guest_abi::{
    Hypercall,
    sched::{SchedOp, Shutdown, ShutdownReason},
};

use crate::arch::hypercall;

/// Lets other virtual CPUs run.
pub fn yield_now() {
    // It cannot be refused.
    let _ = hypercall::bare(Hypercall::SchedOp, SchedOp::Yield.number());
}

/// Sleeps until an event is pending; see [`events::wait`](crate::events::wait).
pub(crate) fn block() {
    // It cannot be refused.
    let _ = hypercall::bare(Hypercall::SchedOp, SchedOp::Block.number());
}

/// Ends the domain.
pub fn shutdown(reason: ShutdownReason) -> ! {
    loop {
        let mut arg = Shutdown {
            reason: reason.number(),
        };
        // It does not come back; if a hypervisor ever lets it, asking again is all there is.
        let _ = hypercall::command(Hypercall::SchedOp, SchedOp::Shutdown.number(), &mut arg);
    }
}
