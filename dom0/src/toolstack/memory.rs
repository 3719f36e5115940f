//! How much memory domains hold, and may hold.
//!
//! A guest's balloon follows `memory/target` in xenstore: it gives pages back, or asks for them
//! again. The hypervisor's limit follows the target, so that a guest that was asked to shrink can't
//! grow back by itself. Nothing is promised that is not there: more is only asked for when it is
//! free.

use alloc::string::String;
use core::fmt;

use guest_abi::Errno;
use guest_abi::domctl::DomainInfo;

use super::nodes::home;
use super::{Guest, Phase, Toolstack};

/// KiB in a page.
const PAGE_KIB: u64 = 4;
/// The least a guest can live with, in KiB.
const MINIMUM_KIB: u64 = 8 * 1024;
/// What a guest may hold beyond its target, in KiB, as with Xen's tools: pages it gives away and
/// gets back do so in no strict order.
const SLACK_KIB: u64 = 1024;

/// Why a domain's memory stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// It has ended.
    Ended(String),
    /// More than it may ever hold.
    AboveMaximum {
        /// What was asked for, in KiB.
        asked: u64,
        /// What it may hold.
        maximum: u64,
    },
    /// Less than any guest can live with.
    BelowMinimum {
        /// What was asked for, in KiB.
        asked: u64,
    },
    /// Less than its target.
    BelowTarget {
        /// What was asked for, in KiB.
        asked: u64,
        /// What it is to hold.
        target: u64,
    },
    /// The host has not so much.
    NotEnough {
        /// What would be needed beyond what the domain has, in KiB.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// The hypervisor's refusal.
    Refused(Errno),
    /// The store's.
    Store(backends::xenstore::Error),
}

/// KiB as MiB, exactly.
struct Mib(u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 1024 {
            0 => write!(f, "{} MiB", self.0 / 1024),
            _ => write!(f, "{} KiB", self.0),
        }
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(name) => write!(f, "domain {name} has ended already"),
            Self::AboveMaximum { asked, maximum } => write!(
                f,
                "{} is above the domain's maximum of {}; `xl mem-max` raises that",
                Mib(*asked),
                Mib(*maximum)
            ),
            Self::BelowMinimum { asked } => write!(
                f,
                "{} is below {}, the least a guest can live with",
                Mib(*asked),
                Mib(MINIMUM_KIB)
            ),
            Self::BelowTarget { asked, target } => write!(
                f,
                "{} is below the domain's target of {}; `xl mem-set` lowers that first",
                Mib(*asked),
                Mib(*target)
            ),
            Self::NotEnough { needed, free } => write!(
                f,
                "not enough free memory: {} more wanted, {} free; shrink or destroy another domain",
                Mib(*needed),
                Mib(*free)
            ),
            Self::Refused(errno) => {
                write!(
                    f,
                    "the hypervisor refuses: {}; `xl dmesg` tells why",
                    errno.name()
                )
            }
            Self::Store(error) => write!(f, "xenstore refuses: {error}"),
        }
    }
}

impl core::error::Error for MemoryError {}

impl Guest {
    /// What it is to hold, in KiB.
    #[must_use]
    pub fn target_kib(&self) -> u64 {
        self.target_kib.get()
    }

    /// The most it may ever hold, in KiB.
    #[must_use]
    pub fn max_kib(&self) -> u64 {
        self.max_kib.get()
    }
}

impl Toolstack {
    /// Asks a guest to hold so much. It takes its time.
    ///
    /// # Errors
    ///
    /// Why it can't. Nothing has changed then.
    pub fn set_memory(&self, guest: &Guest, kib: u64) -> Result<(), MemoryError> {
        let (asked, maximum) = (kib, guest.max_kib.get());
        if asked > maximum {
            return Err(MemoryError::AboveMaximum { asked, maximum });
        }
        // Who was given less than that lives with it.
        if asked < MINIMUM_KIB.min(guest.target_kib.get()) {
            return Err(MemoryError::BelowMinimum { asked });
        }
        let holds = self.info(guest)?.tot_pages.saturating_mul(PAGE_KIB);
        let needed = asked.saturating_sub(holds);
        let host = self.hypervisor.physinfo().map_err(MemoryError::Refused)?;
        let free = host.free_pages.saturating_mul(PAGE_KIB);
        if needed > free {
            return Err(MemoryError::NotEnough { needed, free });
        }
        self.limit(guest, asked)?;
        self.put(guest, "target", asked)?;
        guest.target_kib.set(asked);
        Ok(())
    }

    /// Sets the most a guest may ever hold.
    ///
    /// # Errors
    ///
    /// Why it can't be. Nothing has changed then.
    pub fn set_max_memory(&self, guest: &Guest, kib: u64) -> Result<(), MemoryError> {
        let (asked, target) = (kib, guest.target_kib.get());
        if asked < target {
            return Err(MemoryError::BelowTarget { asked, target });
        }
        self.info(guest)?;
        let host = self.hypervisor.physinfo().map_err(MemoryError::Refused)?;
        let all = host.total_pages.saturating_mul(PAGE_KIB);
        if asked > all {
            return Err(MemoryError::NotEnough {
                needed: asked,
                free: all,
            });
        }
        self.put(guest, "static-max", asked)?;
        guest.max_kib.set(asked);
        Ok(())
    }

    /// Lets the hypervisor keep a guest to its target.
    fn limit(&self, guest: &Guest, target: u64) -> Result<(), MemoryError> {
        let limit = target.saturating_add(SLACK_KIB);
        let limited = self.hypervisor.set_max_memory(guest.domain, limit);
        limited.map_err(MemoryError::Refused)
    }

    fn info(&self, guest: &Guest) -> Result<DomainInfo, MemoryError> {
        if guest.phase() != Phase::Alive {
            return Err(MemoryError::Ended(guest.name()));
        }
        self.hypervisor
            .domain(guest.domain)
            .map_err(MemoryError::Refused)
    }

    fn put(&self, guest: &Guest, name: &str, kib: u64) -> Result<(), MemoryError> {
        let path = alloc::format!("{}/memory/{name}", home(guest.domain));
        let put = self.store().borrow_mut().put(&path, kib);
        put.map_err(MemoryError::Store)
    }
}
