//! Grants: one domain lets another use single frames of its own.
//!
//! The granter writes entries into a table that it shares with the core ([`table`], [`entry`]);
//! the other domain maps them ([`map`]) or has them copied ([`copy`]). The core keeps two records:
//! of each entry in use ([`active`]) at the granter, and of each mapping ([`map_track`]) at the
//! mapper. While a frame is in use it is held by a reference, and its granter by another, so
//! neither the end of the one domain nor that of the other frees anything under somebody's hands.
//!
//! Locks: a table's and a track's are leaves; neither is held while the other, or any lock of
//! memory management, is taken.

pub mod active;
pub mod copy;
pub mod entry;
pub mod map;
pub mod map_track;
pub mod resource;
pub mod table;

#[cfg(test)]
mod model_tests;

use crate::domain::DomainRef;

/// A domain's grants.
pub type DomainGrants = map::Grants<DomainRef>;
