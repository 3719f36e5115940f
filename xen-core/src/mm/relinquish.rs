//! The end of a domain's memory, a bounded step at a time.
//!
//! 1. The roots and descriptor tables of its vCPUs go.
//! 2. Each of its frames is unpinned and given up.
//! 3. Tables without users are drained, which gives the rest back.
//!
//! Nothing of the domain runs any more, and no CPU is on its roots.

use super::access::{CALL_BUDGET, with_space};
use super::hardware::Hardware;
use super::pagetable::{Budget, Space};
use super::roots::{Which, set_root};
use crate::domain::{Domain, DomainRef, VcpuRef};
use crate::hypercall::Stop;
use crate::trap;

/// Frees all that the dying domain does not share with others.
///
/// # Errors
/// [`Stop::Again`] when there is more to do.
pub fn relinquish(domain: &DomainRef) -> Result<(), Stop> {
    // Nothing comes in any more while it goes out.
    domain.memory.set_max_pages(0);
    let vcpus = domain.vcpus().iter();
    vcpus
        .filter_map(|vcpu| VcpuRef::new(domain, vcpu.id))
        .for_each(|vcpu| trap::vcpu::release(&vcpu));
    let mut budget = Budget::new(CALL_BUDGET);
    let done = with_space(domain, &mut budget, |space| {
        for vcpu in domain.vcpus() {
            for which in [Which::Kernel, Which::User] {
                // Taking none cannot be refused.
                let _ = set_root(space, vcpu, which, None);
            }
        }
        give_up_all(domain, space) && space.drain()
    });
    if done { Ok(()) } else { Err(Stop::Again) }
}

fn give_up_all(domain: &Domain, space: &mut Space<'_, Hardware>) -> bool {
    while let Some(mfn) = domain.memory.first_page() {
        if !space.spend(2) {
            return false;
        }
        // Most are not pinned.
        let _ = space.unpin(mfn);
        match domain.memory.strike(mfn) {
            Ok(page) => space.put_page(mfn, page),
            Err(_) => {
                log::error!("d{}: frame {mfn} cannot be given up", domain.id);
                return true;
            }
        }
    }
    true
}
