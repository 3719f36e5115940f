//! Real domains on the fake machine: bits in their shared pages, virtual and physical interrupts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use guest_abi::ids::{Port, VcpuId, Virq};

use super::pirq::{Source, Trigger};
use super::port::{PortError, PortState};
use super::{bind, deliver, lines};
use crate::arch::shared_page::SharedPage;
use crate::domain::{Domain, DomainRef, VcpuRef};
use crate::hypercall::Stop;

/// A domain of the test's own, with upcalls masked as a builder leaves them.
fn domain(vcpus: u32) -> DomainRef {
    static NEXT: AtomicU16 = AtomicU16::new(0x4e00);
    let domain = Domain::fake(NEXT.fetch_add(1, SeqCst), vcpus);
    for vcpu in domain.vcpus() {
        deliver::mask_upcalls(vcpu, true);
    }
    domain
}

fn vcpu(domain: &DomainRef, id: u32) -> VcpuRef {
    VcpuRef::new(domain, VcpuId::new(id)).unwrap()
}

fn bits(domain: &DomainRef, offset: usize) -> u64 {
    SharedPage::new(domain.shared_info.mfn())
        .atomic_u64(offset)
        .load(SeqCst)
}

const PENDING: usize = 2048;
const MASK: usize = 2560;

fn close_all(domain: &DomainRef) {
    while domain.events.close_all(domain) == Err(Stop::Again) {}
    assert_eq!(domain.events.open_count(), 0);
}

#[test]
fn a_send_reaches_the_peers_bits_and_its_upcall_waits_for_unmasking() {
    let (zero, one) = (domain(1), domain(2));
    let waiting = bind::alloc_unbound(&one, zero.id).unwrap();
    bind::bind_vcpu(&one, waiting, VcpuId::new(1)).unwrap();
    let port = bind::bind_interdomain(&zero, &one, waiting).unwrap();
    assert_eq!(bits(&zero, PENDING), 1 << port.get(), "pending at once");
    bind::send(&zero, port).unwrap();
    assert_eq!(bits(&one, PENDING), 1 << waiting.get());
    let told = vcpu(&one, 1);
    assert!(!deliver::is_upcall_pending(&told), "masked");
    assert!(deliver::mask_upcalls(&told, false));
    assert!(deliver::is_upcall_pending(&told));
    deliver::mask_upcalls(&vcpu(&one, 0), false);
    assert!(
        !deliver::is_upcall_pending(&vcpu(&one, 0)),
        "the other vCPU was not told"
    );
    super::close(&one, waiting).unwrap();
    assert_eq!(bits(&one, PENDING), 0, "a closed port is not pending");
    bind::send(&zero, port).unwrap();
    assert_eq!(bits(&one, PENDING), 0, "nor does an old peer reach it");
    close_all(&zero);
    drop(told);
    assert!(
        [zero, one]
            .iter()
            .all(|domain| Arc::strong_count(domain) == 1)
    );
}

#[test]
fn a_virq_is_bound_once_and_raises_its_vcpu() {
    let domain = domain(2);
    let one = VcpuId::new(1);
    let port = deliver::bind_virq(&domain, Virq::Timer, one).unwrap();
    let again = deliver::bind_virq(&domain, Virq::Timer, one);
    assert_eq!(again, Err(PortError::AlreadyBound));
    let missing = deliver::bind_virq(&domain, Virq::Timer, VcpuId::new(2));
    assert_eq!(missing, Err(PortError::NoSuchVcpu));
    deliver::send_virq(&vcpu(&domain, 0), Virq::Timer);
    assert_eq!(bits(&domain, PENDING), 0, "vCPU 0 has not bound its own");
    deliver::send_virq(&vcpu(&domain, 1), Virq::Timer);
    assert_eq!(bits(&domain, PENDING), 1 << port.get());
    super::close(&domain, port).unwrap();
    deliver::send_virq(&vcpu(&domain, 1), Virq::Timer);
    assert_eq!(bits(&domain, PENDING), 0);
    assert!(
        deliver::bind_virq(&domain, Virq::Timer, one).is_ok(),
        "bound anew"
    );
}

#[test]
fn a_virq_of_the_whole_domain_follows_its_port_to_another_vcpu() {
    let domain = domain(2);
    let port = deliver::bind_virq(&domain, Virq::DomExc, VcpuId::new(0)).unwrap();
    bind::bind_vcpu(&domain, port, VcpuId::new(1)).unwrap();
    let told = vcpu(&domain, 1);
    deliver::mask_upcalls(&told, false);
    deliver::send_global_virq(&domain, Virq::DomExc);
    assert!(deliver::is_upcall_pending(&told));
    super::close(&domain, port).unwrap();
    assert!(deliver::bind_virq(&domain, Virq::DomExc, VcpuId::new(0)).is_ok());
}

#[test]
fn a_masked_port_is_delivered_by_the_unmask_operation() {
    let domain = domain(1);
    let port = domain
        .events
        .ports()
        .open(PortState::Ipi, VcpuId::new(0))
        .unwrap();
    SharedPage::new(domain.shared_info.mfn())
        .atomic_u64(MASK)
        .store(u64::MAX, SeqCst);
    deliver::mask_upcalls(&vcpu(&domain, 0), false);
    bind::send(&domain, port).unwrap();
    assert!(!deliver::is_upcall_pending(&vcpu(&domain, 0)));
    deliver::unmask(&domain, port).unwrap();
    assert!(deliver::is_upcall_pending(&vcpu(&domain, 0)));
    assert_eq!(bits(&domain, MASK), !(1 << port.get()));
    assert_eq!(
        deliver::unmask(&domain, Port::new(9)),
        Err(PortError::NotOpen)
    );
    assert_eq!(
        deliver::unmask(&domain, Port::new(u32::MAX)),
        Err(PortError::NotOpen)
    );
}

#[test]
fn a_poll_ends_at_once_when_its_port_is_pending_masked_or_not() {
    let domain = domain(1);
    let port = domain
        .events
        .ports()
        .open(PortState::Ipi, VcpuId::new(0))
        .unwrap();
    SharedPage::new(domain.shared_info.mfn())
        .atomic_u64(MASK)
        .store(u64::MAX, SeqCst);
    let waiter = vcpu(&domain, 0);
    assert_eq!(
        deliver::poll_begin(&waiter, &[Port::new(7)]),
        Err(PortError::NotOpen)
    );
    assert_eq!(deliver::poll_begin(&waiter, &[port]), Ok(false));
    assert!(domain.events.pollers.any());
    bind::send(&domain, port).unwrap();
    assert!(!domain.events.pollers.any(), "the sender ended the wait");
    assert_eq!(deliver::poll_begin(&waiter, &[port]), Ok(true));
    assert!(!domain.events.pollers.any());
    assert_eq!(bits(&domain, PENDING), 1 << port.get(), "the bit stays");
}

#[test]
fn a_domain_full_of_ports_closes_in_bounded_steps() {
    let domain = domain(1);
    let open = || domain.events.ports().open(PortState::Ipi, VcpuId::new(0));
    for expected in 1..=super::MAX_PORT {
        assert_eq!(open(), Ok(Port::new(expected)));
    }
    assert_eq!(open(), Err(PortError::NoSpace));
    assert_eq!(super::close_some(&domain, 64), super::Progress::More);
    assert_eq!(domain.events.open_count(), super::MAX_PORT - 64);
    assert_eq!(open(), Ok(Port::new(1)), "the lowest free port comes first");
    close_all(&domain);
    assert_eq!(open(), Err(PortError::Dying));
}

#[test]
fn a_line_interrupts_only_while_it_is_bound_and_a_level_needs_its_end() {
    let owner = domain(1);
    crate::domain::table::insert(owner.clone()).unwrap();
    let level = Trigger {
        level: true,
        active_low: true,
    };
    let source = Source::Gsi {
        gsi: 17,
        trigger: level,
    };
    assert_eq!(lines::map(owner.id, None, source), Ok(17));
    assert_eq!(lines::map(owner.id, None, source), Ok(17), "the same again");
    let beyond = Source::Gsi {
        gsi: 24,
        trigger: level,
    };
    assert_eq!(
        lines::map(owner.id, None, beyond),
        Err(PortError::BadSource)
    );
    lines::set_pirq_pending(17);
    let port = lines::bind(&owner, 17).unwrap();
    assert_eq!(bits(&owner, PENDING), 0);
    lines::set_pirq_pending(17);
    assert_eq!(bits(&owner, PENDING), 1 << port.get());
    assert_eq!(lines::unmap(owner.id, 17), Err(PortError::AlreadyBound));
    assert_eq!(lines::bind(&owner, 17), Err(PortError::AlreadyBound));
    lines::end(owner.id, 17).unwrap();
    assert_eq!(lines::end(owner.id, 18), Err(PortError::BadSource));
    super::close(&owner, port).unwrap();
    lines::set_pirq_pending(17);
    assert_eq!(bits(&owner, PENDING), 0);
    let message = Source::Message {
        table: 0xfe00_0000,
        entry: 3,
    };
    let pirq = lines::map(owner.id, None, message).unwrap();
    assert!(pirq >= 24, "above the pins");
    lines::bind(&owner, pirq).unwrap();
    close_all(&owner);
    assert_eq!(lines::source(owner.id, pirq), None);
    assert_eq!(lines::source(owner.id, 17), None);
    crate::domain::table::remove(&owner);
}

#[test]
fn a_number_beyond_all_lines_is_refused_everywhere() {
    let owner = domain(1);
    for pirq in [super::pirq::LINES, u32::MAX] {
        assert_eq!(lines::bind(&owner, pirq), Err(PortError::BadSource));
        assert_eq!(lines::unmap(owner.id, pirq), Err(PortError::BadSource));
        assert_eq!(lines::end(owner.id, pirq), Err(PortError::BadSource));
        assert_eq!(lines::source(owner.id, pirq), None);
        lines::set_pirq_pending(pirq);
    }
}
