//! Grants that stay mapped because the frontend promised to use them again and again.
//!
//! A frontend with `feature-persistent` owns a pool of granted pages per ring and copies data
//! through them, which saves both ends a mapping per page and request. What it names is looked
//! up here; the reference numbers are small and dense, so their low bits choose one of a fixed
//! number of sets, in which the one used last comes first and the last one goes when a new one
//! needs its place. That bounds what a frontend can keep mapped: [`SETS`] × [`WAYS`] pages.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;

use guest_abi::ids::GrantRef;

use crate::host::IoMemory;

/// Sets: a power of two.
const SETS: usize = 512;
/// Places in a set. Linux keeps 1,056 grants per ring: 2 or 3 to a set.
const WAYS: usize = 4;

type Set = Vec<(GrantRef, Rc<dyn IoMemory>)>;

/// Mapped pages by their grant.
pub(super) struct Cache {
    sets: Vec<Set>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({} pages)", self.len())
    }
}

impl Cache {
    /// An empty cache.
    pub(super) fn new() -> Self {
        let mut sets = Vec::new();
        sets.resize_with(SETS, Vec::new);
        Self { sets }
    }

    /// The page of a grant; `map` maps it if it isn't mapped yet.
    pub(super) fn get<E>(
        &mut self,
        grant: GrantRef,
        map: impl FnOnce() -> Result<Rc<dyn IoMemory>, E>,
    ) -> Result<Rc<dyn IoMemory>, E> {
        let index = usize::try_from(grant.get()).unwrap_or(0) % SETS;
        let Some(set) = self.sets.get_mut(index) else {
            return map();
        };
        let found = set
            .iter()
            .enumerate()
            .find(|(_, (cached, _))| *cached == grant);
        if let Some((place, page)) = found.map(|(place, (_, page))| (place, page.clone())) {
            if place > 0
                && let Some(used) = set.get_mut(..=place)
            {
                used.rotate_right(1);
            }
            return Ok(page);
        }
        let page = map()?;
        // Requests under way keep their own hold on the page that goes.
        set.truncate(WAYS - 1);
        set.insert(0, (grant, page.clone()));
        Ok(page)
    }

    /// Pages held.
    pub(super) fn len(&self) -> usize {
        self.sets.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakePage;
    use core::convert::Infallible;

    fn page() -> Result<Rc<dyn IoMemory>, Infallible> {
        Ok(Rc::new(FakePage::new()))
    }

    /// Whether a lookup had to map.
    fn maps(cache: &mut Cache, grant: u32) -> bool {
        let mut mapped = false;
        let Ok(_) = cache.get(GrantRef::new(grant), || {
            mapped = true;
            page()
        });
        mapped
    }

    #[test]
    fn a_grant_is_mapped_once() {
        let mut cache = Cache::new();
        assert!((0..1056).all(|grant| maps(&mut cache, grant)));
        assert!((0..1056).all(|grant| !maps(&mut cache, grant)));
    }

    #[test]
    fn the_one_not_used_for_longest_goes_first() {
        let mut cache = Cache::new();
        let same_set = |n: usize| u32::try_from(n * SETS).unwrap();
        assert!((0..WAYS).all(|n| maps(&mut cache, same_set(n))));
        assert!(!maps(&mut cache, same_set(0)));
        assert!(maps(&mut cache, same_set(WAYS)));
        assert!(!maps(&mut cache, same_set(0)));
        assert!(maps(&mut cache, same_set(1)));
    }

    #[test]
    fn a_frontend_that_never_repeats_itself_is_bounded() {
        let mut cache = Cache::new();
        assert!((0..100_000).all(|grant| maps(&mut cache, grant)));
        assert_eq!(cache.len(), SETS * WAYS);
    }

    #[test]
    fn a_grant_that_can_not_be_mapped_leaves_nothing() {
        let mut cache = Cache::new();
        assert!(cache.get(GrantRef::new(9), || Err(())).is_err());
        assert_eq!(cache.len(), 0);
    }
}
