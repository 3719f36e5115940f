//! Memory of real domains on the fake machine: what they get, keep and give back.

use std::sync::atomic::Ordering::Relaxed;

use guest_abi::errno::Errno;
use guest_abi::frame::{Mfn, Pfn};
use guest_abi::ids::VcpuId;
use guest_abi::mmu::{Pte, PteFlags};

use super::access::with_space;
use super::frame_table::Status;
use super::pagetable::entry::Level;
use super::pagetable::{Budget, Refusal, TableError};
use super::{Hold, Which, give_frames, heap, hold, install_root, let_go, relinquish};
use crate::arch::direct_map;
use crate::domain::{Domain, DomainRef, VcpuRef, table};
use crate::hypercall::Stop;

/// A domain with room for `pages`, in the domain table. Each test takes a number of its own.
fn domain(id: u16, pages: u64) -> DomainRef {
    heap::start_fake();
    let domain = Domain::fake(id, 1);
    domain.memory.set_max_pages(pages);
    table::insert(domain.clone()).unwrap();
    domain
}

fn frame(domain: &Domain, pfn: u64) -> Mfn {
    give_frames(domain, 0, Pfn::new(pfn)).unwrap()
}

fn write(table: Mfn, index: usize, target: Mfn) {
    let pte = Pte::map(target, PteFlags::PRESENT | PteFlags::RW | PteFlags::USER);
    direct_map::entries(table)[index].store(pte.get(), Relaxed);
}

/// A root, and its tables down to an L1 that maps one page.
fn tree(domain: &Domain) -> [Mfn; 5] {
    let frames = [0, 1, 2, 3, 4].map(|pfn| frame(domain, pfn));
    for pair in frames.windows(2) {
        write(pair[0], 1, pair[1]);
    }
    frames
}

fn bury(domain: DomainRef) {
    domain.life.start_dying();
    while relinquish(&domain) == Err(Stop::Again) {}
}

#[test]
fn a_domain_never_gets_more_than_its_maximum() {
    let domain = domain(700, 5);
    assert!(give_frames(&domain, 2, Pfn::new(0)).is_ok());
    assert_eq!(give_frames(&domain, 1, Pfn::new(4)), Err(Errno::ENOMEM));
    frame(&domain, 4);
    assert_eq!(domain.memory.total_pages(), 5);
    assert_eq!(give_frames(&domain, 0, Pfn::new(5)), Err(Errno::ENOMEM));
    bury(domain);
    assert!(table::get(guest_abi::ids::DomId::new(700)).is_none());
}

#[test]
fn frames_come_zeroed_however_they_were_left() {
    let domain = domain(701, 64);
    let frames: Vec<_> = (0..64).map(|pfn| frame(&domain, pfn)).collect();
    for mfn in &frames {
        direct_map::entries(*mfn)[511].store(0x5ec2e7, Relaxed);
    }
    bury(domain);
    let heir = self::domain(702, 256);
    for pfn in 0..256 {
        let mfn = frame(&heir, pfn);
        let words = direct_map::entries(mfn).iter();
        assert!(words.map(|word| word.load(Relaxed)).all(|word| word == 0));
    }
    bury(heir);
}

#[test]
fn the_end_takes_pinned_trees_and_roots_apart() {
    let domain = domain(703, 16);
    let [root, ..] = tree(&domain);
    let vcpu = VcpuRef::new(&domain, VcpuId::new(0)).unwrap();
    install_root(&domain, &vcpu, Which::Kernel, Some(root)).unwrap();
    with_space(&domain, &mut Budget::new(1000), |space| {
        space.pin(root, Level::L4)
    })
    .unwrap();
    assert_eq!(heap::page(root).unwrap().ty.load().count(), 2);
    drop(vcpu);
    let watched = domain.clone();
    bury(domain);
    assert!(watched.memory.is_empty());
    assert_eq!(watched.vcpus()[0].entry.kernel_root().get(), 0);
}

#[test]
fn a_frame_that_somebody_holds_outlives_its_domain() {
    let domain = domain(704, 4);
    let id = domain.id;
    let mfn = frame(&domain, 0);
    hold(id, mfn, Hold::Write).unwrap();
    bury(domain);
    // Its number is not free either.
    assert!(table::get(id).is_some());
    assert_eq!(heap::page(mfn).unwrap().refs().status, Status::GivenUp);
    assert!(hold(id, mfn, Hold::Read).is_err());
    let_go(mfn, Hold::Write);
    assert!(table::get(id).is_none());
}

#[test]
fn a_frame_held_for_writing_refuses_to_become_a_table() {
    let domain = domain(705, 4);
    let mfn = frame(&domain, 0);
    let pin = || {
        with_space(&domain, &mut Budget::new(100), |space| {
            space.pin(mfn, Level::L1)
        })
    };
    hold(domain.id, mfn, Hold::Write).unwrap();
    assert!(matches!(pin(), Err(TableError::Refused(Refusal::Type(..)))));
    let_go(mfn, Hold::Write);
    pin().unwrap();
    assert!(hold(domain.id, mfn, Hold::Write).is_err());
    bury(domain);
}

#[test]
fn what_the_core_lends_is_not_the_domains_to_give_back() {
    let domain = domain(706, 4);
    let lent = heap::alloc_xenheap_page(domain.id).unwrap();
    assert!(domain.memory.strike(lent).is_err());
    assert_eq!(domain.memory.total_pages(), 0);
    hold(domain.id, lent, Hold::Write).unwrap();
    heap::free_xenheap_page(lent);
    assert_eq!(heap::page(lent).unwrap().refs().status, Status::GivenUp);
    let_go(lent, Hold::Write);
    assert_ne!(heap::page(lent).unwrap().refs().status, Status::GivenUp);
    bury(domain);
}
