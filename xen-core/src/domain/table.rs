//! The table of all domains.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, Ordering};

use guest_abi::errno::Errno;
use guest_abi::ids::{DomId, Virq};

use super::{Domain, DomainRef};
use crate::sync::RwLock;

static DOMAINS: RwLock<BTreeMap<DomId, DomainRef>> = RwLock::new(BTreeMap::new());
static NEXT_ID: AtomicU16 = AtomicU16::new(1);

/// The domain numbered `id`, dying ones included.
pub fn get(id: DomId) -> Option<DomainRef> {
    DOMAINS.read().get(&id).cloned()
}

/// The first domain whose number is `id` or above.
pub fn at_or_after(id: DomId) -> Option<DomainRef> {
    DOMAINS
        .read()
        .range(id..)
        .next()
        .map(|(_, domain)| domain.clone())
}

/// All domains, in the order of their numbers.
pub fn all() -> Vec<DomainRef> {
    DOMAINS.read().values().cloned().collect()
}

/// Enters a new domain.
///
/// # Errors
/// `EEXIST` when its number is taken.
pub fn insert(domain: DomainRef) -> Result<(), Errno> {
    let mut domains = DOMAINS.write();
    if domains.contains_key(&domain.id) {
        return Err(Errno::EEXIST);
    }
    domains.insert(domain.id, domain);
    Ok(())
}

/// A free number for a new domain: numbers rise, and are only given again after the last one has
/// been used, so that a stale number seldom names somebody else.
pub fn next_id() -> Option<DomId> {
    let domains = DOMAINS.read();
    let start = NEXT_ID.load(Ordering::Relaxed).max(1);
    let id = (start..DomId::FIRST_RESERVED.get())
        .chain(1..start)
        .map(DomId::new)
        .find(|id| !domains.contains_key(id))?;
    let after = id.get() + 1;
    let wrapped = if after < DomId::FIRST_RESERVED.get() {
        after
    } else {
        1
    };
    NEXT_ID.store(wrapped, Ordering::Relaxed);
    Some(id)
}

/// Takes a dead domain out: its number is free again. `None` when it is out already, even if
/// another has its number by now.
pub fn remove(dead: &Domain) -> Option<DomainRef> {
    let mut domains = DOMAINS.write();
    let is_it = domains
        .get(&dead.id)
        .is_some_and(|found| core::ptr::eq(&raw const **found, dead));
    is_it.then(|| domains.remove(&dead.id)).flatten()
}

/// Tells dom0 that some domain's life changed (`VIRQ_DOM_EXC`).
pub fn notify_toolstack() {
    if let Some(dom0) = get(DomId::DOM0) {
        crate::event::send_global_virq(&dom0, Virq::DomExc);
    }
}

#[cfg(test)]
mod tests {
    use super::{get, insert, remove};
    use crate::domain::Domain;

    #[test]
    fn burying_a_domain_twice_does_not_bury_the_next_of_its_number() {
        let (first, next) = (Domain::fake(0x4e01, 1), Domain::fake(0x4e01, 1));
        insert(first.clone()).unwrap();
        assert!(remove(&first).is_some());
        insert(next.clone()).unwrap();
        assert!(remove(&first).is_none());
        assert!(get(next.id).is_some());
        assert!(remove(&next).is_some());
    }
}
