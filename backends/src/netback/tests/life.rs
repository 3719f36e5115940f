//! Connecting, waiting, handing over.

use guest_abi::DomId;
use guest_abi::ids::GrantRef;

use crate::host::fake::FakePage;
use crate::host::{Access, MacAddress, SharedPage};
use crate::netback::Options;
use crate::netback::testing::{FrontRing, Guest, LINUX, Sent, World, frame, mac, options, tcp};
use crate::xenbus::{End, Wish};

#[test]
fn what_is_offered_is_what_linux_looks_for() {
    let world = World::new();
    let guest = Guest::linux(&world, 1, options(1));
    for (key, value) in [
        ("feature-rx-copy", "1"),
        ("feature-sg", "1"),
        ("feature-gso-tcpv4", "1"),
        ("feature-gso-tcpv6", "1"),
        ("feature-ipv6-csum-offload", "1"),
        ("feature-split-event-channels", "1"),
        ("multi-queue-max-queues", "4"),
        ("hotplug-status", "connected"),
        ("mac", "00:16:3e:00:00:01"),
        ("state", "4"),
    ] {
        assert_eq!(guest.back(key), value, "{key}");
    }
    assert_eq!(world.switch.ports(), 1);
}

#[test]
fn a_frontend_without_what_is_needed_is_told_what_is_missing() {
    let world = World::new();
    let guest = Guest::with(&world, 1, options(1), &[]);
    assert!(
        guest.back("error").contains("request-rx-copy"),
        "{}",
        guest.back("error")
    );
    let guest = Guest::with(
        &world,
        2,
        options(2),
        &[("request-rx-copy", "1"), ("rx-ring-ref", "x")],
    );
    assert!(guest.back("error").contains("rx-ring-ref"));
    let guest = Guest::with(
        &world,
        3,
        options(3),
        &[("request-rx-copy", "1"), ("multi-queue-num-queues", "5")],
    );
    assert!(guest.back("error").contains("5 queues"));
    let guest = Guest::with(
        &world,
        4,
        options(4),
        &[("request-rx-copy", "1"), ("tx-ring-ref", "77")],
    );
    assert!(guest.back("error").contains("BadGntref"));
    assert_eq!((world.host.mapped(), world.switch.ports()), (0, 0));
}

#[test]
fn an_address_is_one_vif_s_only() {
    let world = World::new();
    let _first = Guest::linux(&world, 1, options(1));
    let second = Guest::linux(&world, 2, options(1));
    assert!(
        second.back("error").contains("mac="),
        "{}",
        second.back("error")
    );
    assert!(second.is_disconnected());
    assert_eq!(world.switch.ports(), 1);
}

#[test]
fn another_instance_goes_on_where_the_first_one_stopped() {
    let mut world = World::new();
    let (mut a, mut b) = (
        Guest::linux(&world, 1, options(1)),
        Guest::linux(&world, 2, options(2)),
    );
    for round in 0..50 {
        let frame = a.greet(2, 100 + round);
        world.run(&mut [&mut a, &mut b]);
        let waiting = a.greet(2, 1000 + round);
        for guest in [&mut a, &mut b] {
            guest.control.wish(Wish::HandOver);
            assert_eq!(guest.poll(), Some(End::HandedOver));
            assert!(guest.is_disconnected());
        }
        assert_eq!((world.host.mapped(), world.switch.ports()), (0, 0));
        b.start();
        a.start();
        for _ in 0..3 {
            b.poll();
            a.poll();
        }
        world.run(&mut [&mut a, &mut b]);
        let got: Vec<_> = b.receive().into_iter().map(|got| got.bytes).collect();
        assert_eq!(got[0], frame);
        // What was not taken before is still there, or was on its way and is lost: sent again.
        assert!(got.len() == 1 || got[1] == waiting);
        assert_eq!(a.answers().len(), 2, "each packet is answered once");
        b.post(got.len());
        assert_eq!(a.back("state"), "4");
    }
}

#[test]
fn a_packet_waits_for_buffers_and_its_sender_with_it() {
    let mut world = World::new();
    let mut a = Guest::linux(&world, 1, options(1));
    let mut b = Guest::with(&world, 2, options(2), LINUX);
    let frames: Vec<_> = (0..5).map(|n| a.greet(2, 100 + n)).collect();
    world.run(&mut [&mut a, &mut b]);
    assert!(a.answers().is_empty() && b.receive().is_empty());
    b.post(3);
    world.run(&mut [&mut a, &mut b]);
    assert_eq!((a.answers().len(), b.receive().len()), (3, 3));
    b.post(100);
    world.run(&mut [&mut a, &mut b]);
    assert_eq!(b.receive()[1].bytes, frames[4]);
    assert_eq!(a.answers().len(), 2);
}

#[test]
fn a_stalled_guest_costs_its_senders_nothing_more_until_it_recovers() {
    let mut world = World::new();
    let mut a = Guest::linux(&world, 1, options(1));
    let mut b = Guest::with(&world, 2, options(2), LINUX);
    let mut c = Guest::linux(&world, 3, options(3));
    a.greet(2, 100);
    world.run(&mut [&mut a, &mut b, &mut c]);
    world.host.advance(499_000_000);
    world.run(&mut [&mut a, &mut b, &mut c]);
    assert!(a.answers().is_empty());
    world.host.advance(2_000_000);
    world.run(&mut [&mut a, &mut b, &mut c]);
    assert_eq!(a.answers(), [(0, -2)]);
    a.greet(2, 100);
    a.greet(3, 100);
    world.run(&mut [&mut a, &mut b, &mut c]);
    assert_eq!(a.answers(), [(1, -2), (2, 0)], "at once");
    b.post(40);
    a.greet(2, 100);
    world.run(&mut [&mut a, &mut b, &mut c]);
    assert_eq!((a.answers(), b.receive().len()), (alloc::vec![(3, 0)], 1));
}

#[test]
fn a_slow_receiver_holds_only_a_part_of_its_sender_s_ring() {
    let mut world = World::new();
    let mut a = Guest::linux(&world, 1, options(1));
    let mut b = Guest::with(&world, 2, options(2), LINUX);
    let mut c = Guest::linux(&world, 3, options(3));
    for _ in 0..250 {
        a.greet(2, 100);
    }
    world.run(&mut [&mut a, &mut b, &mut c]);
    assert_eq!(a.answers().len(), 58, "the rest is dropped at once");
    for _ in 0..50 {
        a.greet(3, 100);
    }
    world.run(&mut [&mut a, &mut b, &mut c]);
    assert_eq!(c.receive().len(), 50);
    drop(b);
    world.run(&mut [&mut a, &mut c]);
    assert_eq!(
        a.answers().len(),
        50 + 192,
        "all are answered when the receiver goes"
    );
}

#[test]
fn a_sender_that_goes_takes_its_waiting_packets_with_it() {
    let mut world = World::new();
    let mut a = Guest::linux(&world, 1, options(1));
    let mut b = Guest::with(&world, 2, options(2), LINUX);
    a.greet(2, 100);
    world.run(&mut [&mut a, &mut b]);
    a.control.wish(Wish::HandOver);
    assert_eq!(a.poll(), Some(End::HandedOver));
    assert!(a.is_disconnected());
    assert_eq!(a.answers().len(), 1);
    b.post(10);
    world.run(&mut [&mut b]);
    assert!(b.receive().is_empty());
}

/// A guest with two queues; the rings of the second one.
fn two_queues(world: &World) -> (Guest, FrontRing, FrontRing) {
    let domain = DomId::new(2);
    let (tx, mut rx) = (FrontRing::new(12), FrontRing::new(8));
    for (reference, page) in [(10, &tx.page), (11, &rx.page)] {
        let reference = GrantRef::new(reference);
        world.host.grant(domain, reference, page, Access::ReadWrite);
    }
    let mut nodes = LINUX.to_vec();
    nodes.extend([
        ("multi-queue-num-queues", "2"),
        ("queue-0/tx-ring-ref", "8"),
        ("queue-0/rx-ring-ref", "9"),
        ("queue-0/event-channel", "5"),
        ("queue-1/tx-ring-ref", "10"),
        ("queue-1/rx-ring-ref", "11"),
        ("queue-1/event-channel", "6"),
    ]);
    let mut guest = Guest::with(world, 2, options(2), &nodes);
    guest.post(256);
    for index in 0..256_u32 {
        let buffer = guest.grant(&FakePage::new(), Access::ReadWrite);
        let [low, high, ..] = index.to_le_bytes();
        let [a, b, c, d] = buffer.get().to_le_bytes();
        rx.push(&[low, high, 0, 0, a, b, c, d]);
    }
    rx.publish();
    (guest, tx, rx)
}

#[test]
fn flows_spread_over_the_queues_and_each_keeps_to_one() {
    let mut world = World::new();
    let mut a = Guest::linux(&world, 1, options(1));
    let (mut b, _tx, rx) = two_queues(&world);
    assert_eq!((b.back("state"), world.host.mapped()), ("4".into(), 6));
    let mut spread = [0; 2];
    for port in 0..16 {
        let mut packet = tcp(false, mac(2), 1, 100);
        packet[35] = port;
        let before = (b.rx.answered(), rx.answered());
        for _ in 0..3 {
            a.send(&Sent::plain(&packet));
        }
        world.run(&mut [&mut a, &mut b]);
        match (b.rx.answered() - before.0, rx.answered() - before.1) {
            (3, 0) => spread[0] += 1,
            (0, 3) => spread[1] += 1,
            other => panic!("a flow was torn: {other:?}"),
        }
    }
    assert!(spread[0] > 2 && spread[1] > 2, "{spread:?}");
}

#[test]
fn a_second_queue_sends_as_the_first_one_does() {
    let mut world = World::new();
    let mut a = Guest::linux(&world, 1, options(1));
    let (mut b, mut tx, _rx) = two_queues(&world);
    let packet = frame(mac(1), mac(2), 0x88b5, &[7; 86]);
    let page = FakePage::new();
    page.copy_to(0, &packet);
    let [c, d, e, f] = b.grant(&page, Access::ReadOnly).get().to_le_bytes();
    tx.push(&[c, d, e, f, 0, 0, 0, 0, 9, 0, 100, 0]);
    assert!(tx.publish());
    b.rx_channel.send();
    world.run(&mut [&mut a, &mut b]);
    assert_eq!(a.receive().remove(0).bytes, packet);
    assert_eq!(tx.answered(), 1);
}

#[test]
fn spoofed_packets_go_nowhere() {
    let mut world = World::with_uplink();
    let mut bound = Options::new(MacAddress(mac(1)));
    bound.addresses = alloc::vec!["10.0.0.1".parse().unwrap()];
    let (mut a, mut b) = (
        Guest::linux(&world, 1, bound),
        Guest::linux(&world, 2, options(2)),
    );
    for bytes in [
        frame(mac(2), mac(2), 0x0800, &[0; 46]),
        frame(mac(2), mac(1), 0x88b5, &[0; 46]),
        tcp(false, mac(2), 9, 10),
    ] {
        a.send(&Sent::plain(&bytes));
    }
    world.run(&mut [&mut a, &mut b]);
    assert!(b.receive().is_empty() && world.nic.take_sent().is_empty());
    assert_eq!(a.backend.stats().transmitted.dropped, 3);
    assert_eq!(a.back("state"), "4", "that is no reason to disconnect it");
}
