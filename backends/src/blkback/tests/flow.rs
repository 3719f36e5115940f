//! Who tells whom, how often, and how much is under way.

use super::OWN_PAGES;
use crate::blkback::testing::{Rig, Setup, flush, indirect, segment, transfer};
use crate::host::SharedPage;
use guest_abi::io::blkif::BlkOperation;
use guest_abi::zerocopy::IntoBytes;

#[test]
fn many_answers_are_one_notification() {
    let mut rig = Rig::connected(Setup::default());
    (0..32).for_each(|id| rig.front.push(0, &flush(id)));
    rig.front.publish(0);
    rig.run();
    assert_eq!(rig.front.channel(0).notified.get(), 1);
    assert_eq!(rig.front.responses(0).len(), 32);
}

#[test]
fn a_guest_that_does_not_ask_is_not_told() {
    let mut rig = Rig::connected(Setup::default());
    for id in 0..10 {
        // The answers stay in the ring, so the guest's event is where it was.
        rig.ask(&flush(id));
    }
    assert_eq!(rig.front.channel(0).notified.get(), 1);
    assert_eq!(rig.front.responses(0).len(), 10);
}

#[test]
fn the_guest_need_not_call_for_every_request() {
    let mut rig = Rig::connected(Setup::default());
    for id in 0..10 {
        rig.front.push(0, &flush(id));
        rig.front.publish(0);
    }
    assert_eq!(rig.front.sent, 1);
    rig.run();
    assert_eq!(rig.front.responses(0).len(), 10);
}

#[test]
fn requests_wait_for_calls_only_while_others_will_wake_us() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    let read = |id: u64| transfer(BlkOperation::Read, id, id * 16, &[segment(grant, 0, 7)]);
    rig.disk.holding.set(true);
    (0..16).for_each(|id| rig.front.push(0, &read(id)));
    rig.front.publish(0);
    rig.run();
    assert_eq!(rig.disk.held(), 16);
    rig.ask(&read(16));
    assert_eq!(rig.disk.held(), 16);
    rig.disk.release(3);
    rig.run();
    assert_eq!(rig.disk.held(), 16);
    while rig.disk.held() > 0 {
        rig.disk.release(0);
        rig.run();
    }
    assert_eq!(rig.front.responses(0).len(), 17);
    rig.ask(&read(17));
    assert_eq!(rig.disk.held(), 1);
}

#[test]
fn pages_under_way_are_bounded() {
    let mut rig = Rig::connected(Setup {
        order: 4,
        ..OWN_PAGES
    });
    let rings = rig.host.mapped();
    let (list, list_page) = rig.front.grant();
    for n in 0..256 {
        let (grant, _) = rig.front.grant();
        list_page.copy_to(n * 8, segment(grant, 0, 7).as_bytes());
    }
    rig.disk.holding.set(true);
    for id in 0..500 {
        let read = indirect(BlkOperation::Read, id, 0, 256, list);
        rig.front.push(0, &read);
    }
    rig.front.publish(0);
    rig.run();
    assert!(rig.host.mapped() - rings <= 1024 + 256);
    let mut answered = 0;
    while rig.disk.held() > 0 {
        rig.disk.release(rig.disk.held() - 1);
        rig.run();
        assert!(rig.host.mapped() - rings <= 1024 + 256);
        answered += rig.front.responses(0).len();
    }
    assert_eq!(answered, 500);
    assert_eq!(rig.host.mapped(), rings);
}

#[test]
fn all_queues_full_are_served_to_the_last_request() {
    let mut rig = Rig::connected(Setup {
        queues: 4,
        order: 4,
        persistent: true,
    });
    let (grant, _) = rig.front.grant();
    rig.disk.holding.set(true);
    for queue in 0..4 {
        for id in 0..512 {
            let read = transfer(
                BlkOperation::Read,
                id,
                id % 2 * 512,
                &[segment(grant, 0, 7)],
            );
            rig.front.push(queue, &read);
        }
        assert_eq!(rig.front.room(queue), 0);
        rig.front.publish(queue);
    }
    rig.run();
    assert!(rig.disk.held() < 256, "{} at once", rig.disk.held());
    while rig.disk.held() > 0 {
        rig.disk.release(rig.disk.held() / 2);
        rig.run();
    }
    for queue in 0..4 {
        assert_eq!(rig.front.responses(queue).len(), 512);
    }
}
