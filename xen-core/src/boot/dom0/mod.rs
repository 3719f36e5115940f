//! Building dom0: the one domain that no toolstack builds.

#[cfg(target_os = "none")]
mod build;
pub mod kernel;

#[cfg(target_os = "none")]
pub use build::{BuildError, Parts, build};

/// Proof that dom0 is being built: the machine was just switched on, and no guest has run yet.
/// Only the builder can make one.
#[derive(Debug)]
pub struct BuildingDom0(());

impl BuildingDom0 {
    #[cfg(any(target_os = "none", test))]
    const fn new() -> Self {
        Self(())
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;

    use guest_abi::frame::Pfn;
    use guest_abi::ids::DomId;

    use super::BuildingDom0;
    use crate::arch::direct_map;
    use crate::domain::{Domain, DomainRef, table};
    use crate::hypercall::Stop;
    use crate::mm;

    fn domain(id: u16) -> DomainRef {
        mm::heap::start_fake();
        let domain = Domain::fake(id, 1);
        domain.memory.set_max_pages(1);
        table::insert(domain.clone()).unwrap();
        domain
    }

    fn bury(domain: DomainRef) {
        domain.life.start_dying();
        while mm::relinquish(&domain) == Err(Stop::Again) {}
    }

    #[test]
    fn dom0s_frames_belong_to_it_like_anybodys() {
        let domain = domain(720);
        let proof = BuildingDom0::new();
        let give = |pfn| mm::give_frames_as_they_are(&domain, 0, Pfn::new(pfn), &proof);
        let mfn = give(0).unwrap();
        assert!(give(1).is_err(), "beyond the maximum");
        assert_eq!(domain.memory.total_pages(), 1);
        let page = mm::heap::page(mfn).unwrap();
        assert_eq!(page.refs().owner, DomId::new(720));
        // What it leaves there, the next domain does not find.
        direct_map::entries(mfn)[0].store(7, Ordering::Relaxed);
        bury(domain);
        let heir = self::domain(721);
        let mfn = mm::give_frames(&heir, 0, Pfn::new(0)).unwrap();
        assert_eq!(direct_map::entries(mfn)[0].load(Ordering::Relaxed), 0);
        bury(heir);
    }
}
