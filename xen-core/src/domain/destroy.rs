//! The end of a domain: everything it held goes back, a bounded step at a time.
//!
//! 1. Its vCPUs leave the CPUs, and the CPUs leave its page tables.
//! 2. Its event channels close and its grant mappings of others are undone.
//! 3. Its page tables are taken apart and its frames freed.
//!
//! A step that has used its budget answers [`Stop::Again`]; the order is simply repeated, and goes
//! on where it stopped. Frames that others still map stay until those unmap them: until then the
//! domain remains in the table as dying, so that its number is not given to another.

use guest_abi::ids::DomId;

use super::{Domain, DomainRef, table};
use crate::hypercall::Stop;
use crate::{arch, mm, sched};

/// Takes a domain apart.
///
/// # Errors
/// [`Stop::Again`] when there is more to do.
pub fn destroy(domain: &DomainRef) -> Result<(), Stop> {
    if domain.life.start_dying() {
        log::info!("d{}: destroyed by the toolstack", domain.id);
    }
    sched::retire_domain(domain);
    arch::context::drop_lazy(domain);
    domain.events.close_all(domain)?;
    domain.grants.release_all(domain)?;
    mm::relinquish(domain)?;
    bury(domain);
    Ok(())
}

/// Frees the number of a dead domain once none of its frames is left.
pub fn bury(domain: &Domain) {
    if domain.life.is_dying() && domain.memory.is_empty() && table::remove(domain).is_some() {
        table::notify_toolstack();
    }
}

/// To be called when the last frame of a domain has gone, possibly long after its death.
pub fn last_frame_gone(id: DomId) {
    if let Some(domain) = table::get(id) {
        bury(&domain);
    }
}
