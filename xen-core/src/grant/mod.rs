//! Grants: one domain lets another use single frames of its own.
//!
//! The granter writes entries into a table that it shares with the core ([`table`], [`entry`]);
//! the other domain maps them ([`map`]) or has them copied ([`copy`]). The core keeps two records:
//! of each entry in use ([`active`]) at the granter, and of each mapping ([`map_track`]) at the
//! mapper. While a frame is in use it is held by a reference, and its granter by another, so
//! neither the end of the one domain nor that of the other frees anything under somebody's hands.
//!
//! Locks: a table's and a track's are leaves; neither is held while the other, or any lock of
//! memory management, is taken. (Growing a table allocates frames under its lock.)

pub mod active;
pub mod copy;
pub mod entry;
pub(crate) mod machine;
pub mod map;
pub mod map_track;
pub mod refusal;
pub mod table;

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod domain_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod sim;

use core::ops::Deref;

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;

use crate::domain::DomainRef;
use crate::hypercall::Stop;
use crate::mm;

/// Frames of its grant table that a domain may have, unless the toolstack says otherwise.
pub const DEFAULT_MAX_FRAMES: u32 = 64;
/// Maptrack frames that a domain may have, unless the toolstack says otherwise.
pub const DEFAULT_MAX_MAPTRACK_FRAMES: u32 = 1024;

/// Mappings that one step of a domain's end undoes.
const RELEASE_BUDGET: u32 = 256;

/// A domain's grants.
#[derive(Debug)]
pub struct DomainGrants(map::Grants<DomainRef>);

impl DomainGrants {
    /// Nothing granted, nothing mapped; up to these many frames of each.
    pub fn new(max_grant_frames: u32, max_maptrack_frames: u32) -> Self {
        Self(map::Grants::new(max_grant_frames, max_maptrack_frames))
    }

    /// The frame numbered `index` of the table of `owner` (whose grants these are); the table grows
    /// to hold it.
    ///
    /// # Errors
    /// `EINVAL` beyond the domain's limit; `ENOMEM`.
    pub fn frame(&self, owner: DomId, index: u32) -> Result<Mfn, Errno> {
        let count = index.checked_add(1).ok_or(Errno::EINVAL)?;
        if count > self.max_frames() {
            return Err(Errno::EINVAL);
        }
        let mut table = self.table.lock();
        table.grow(count, || mm::alloc_xenheap_page(owner))?;
        table.frame(index).ok_or(Errno::ENOMEM)
    }

    /// How many frames the table has.
    pub fn frames(&self) -> u32 {
        self.table.lock().len()
    }

    /// Undoes the mappings of a domain that dies, a bounded number at a time. No vCPU of it runs
    /// any more. What it granted to others stays held until they unmap it.
    ///
    /// # Errors
    /// [`Stop::Again`] when there is more to do.
    pub fn release_all(&self, domain: &DomainRef) -> Result<(), Stop> {
        if map::release_some(domain, RELEASE_BUDGET, &machine::Nobody) {
            Ok(())
        } else {
            Err(Stop::Again)
        }
    }
}

impl Deref for DomainGrants {
    type Target = map::Grants<DomainRef>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for DomainGrants {
    fn drop(&mut self) {
        // Nobody uses an entry any more: each user holds the domain.
        for frame in self.0.table.get_mut().take_frames() {
            mm::free_xenheap_page(frame);
        }
    }
}

impl map::Party for DomainRef {
    fn id(&self) -> DomId {
        self.id
    }

    fn grants(&self) -> &map::Grants<Self> {
        &self.grants.0
    }
}
