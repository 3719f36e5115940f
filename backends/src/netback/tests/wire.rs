//! From and to the card.

use guest_abi::io::netif::{RxFlags, TxFlags};

use super::traffic::cuts;
use crate::netback::offload::checksum::Sum;
use crate::netback::packet::{Family, IPV4, UDP, layout};
use crate::netback::testing::{
    Guest, LINUX, SMALL, Sent, World, frame, ipv4, mac, options, pattern, tcp,
};

const GATEWAY: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];

/// A frame's transport checksum, verified.
fn verify(bytes: &[u8]) {
    let found = layout(bytes).unwrap();
    let addresses = match found.family {
        Family::V4 => found.network + 12..found.network + 20,
        Family::V6 => found.network + 8..found.network + 40,
    };
    let mut sum = Sum::default();
    sum.add(&bytes[addresses]);
    sum.add(&[0, found.protocol]);
    sum.add(&u32::try_from(found.transport_len).unwrap().to_be_bytes());
    sum.add(&bytes[found.transport..found.transport + found.transport_len]);
    assert_eq!(sum.finish(), [0; 2]);
}

#[test]
fn a_packet_for_outside_is_cut_to_fit_the_wire() {
    for (family, kind, header) in [(Family::V4, 1, 66), (Family::V6, 2, 86)] {
        let mut world = World::with_uplink();
        let mut a = Guest::linux(&world, 1, options(1));
        let whole = tcp(family == Family::V6, GATEWAY, 1, 64_000);
        a.send(&Sent {
            bytes: &whole,
            cuts: &cuts(whole.len(), header),
            flags: TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED,
            gso: Some((1428, kind)),
        });
        world.run(&mut [&mut a]);
        let sent = world.nic.take_sent();
        assert_eq!(sent.len(), 45);
        let mut payload = Vec::new();
        for segment in &sent {
            assert!(segment.len() <= 1514);
            verify(segment);
            payload.extend_from_slice(&segment[header..]);
        }
        assert_eq!(payload, whole[header..]);
        assert_eq!(world.nic.kicks.get(), 1);
        assert!(a.answers().iter().all(|(_, status)| *status >= 0));
        assert_eq!(a.backend.stats().transmitted.packets, 1);
    }
}

#[test]
fn a_blank_checksum_is_completed_for_the_wire() {
    let mut world = World::with_uplink();
    let mut a = Guest::linux(&world, 1, options(1));
    for len in [0, 1, 5, 149, 150, 151, 152, 500, 1400] {
        let mut udp = alloc::vec![0, 53, 0, 53, 0, 0, 0xbe, 0xef];
        udp[4..6].copy_from_slice(&u16::try_from(8 + len).unwrap().to_be_bytes());
        udp.extend(pattern(len));
        let mut bytes = frame(
            GATEWAY,
            mac(1),
            IPV4,
            &ipv4([10, 0, 2, 15], [10, 0, 2, 3], UDP, &udp),
        );
        // What Ethernet fills up is no part of it.
        bytes.resize(bytes.len().max(60), 0xaa);
        let mut sent = Sent::plain(&bytes);
        sent.flags = TxFlags::CSUM_BLANK;
        let cut = [42];
        sent.cuts = &cut;
        a.send(&sent);
        world.run(&mut [&mut a]);
        let out = world.nic.take_sent().remove(0);
        verify(&out);
        assert_eq!(out[42..], bytes[42..]);
    }
}

#[test]
fn what_the_card_receives_reaches_whom_it_is_for() {
    let mut world = World::with_uplink();
    let (mut a, mut b) = (
        Guest::linux(&world, 1, options(1)),
        Guest::linux(&world, 2, options(2)),
    );
    let for_b = frame(mac(2), GATEWAY, IPV4, &[7; 1500]);
    let for_all = frame([0xff; 6], GATEWAY, IPV4, &[8; 100]);
    let for_none = frame(mac(9), GATEWAY, IPV4, &[9; 100]);
    for bytes in [&for_b, &for_all, &for_none] {
        world.nic.receive(bytes);
    }
    world.run(&mut [&mut a, &mut b]);
    let bytes = |guest: &mut Guest| {
        guest
            .receive()
            .into_iter()
            .map(|got| got.bytes)
            .collect::<Vec<_>>()
    };
    assert_eq!(bytes(&mut a), core::slice::from_ref(&for_all));
    let got = b.receive();
    assert_eq!((got[0].flags, &got[0].bytes), (RxFlags::empty(), &for_b));
    assert_eq!(got[1].bytes, for_all);
    assert!(world.nic.take_sent().is_empty(), "nothing goes back");
}

#[test]
fn nothing_comes_from_outside_in_a_guest_s_name() {
    let mut world = World::with_uplink();
    let (mut a, mut b) = (
        Guest::linux(&world, 1, options(1)),
        Guest::linux(&world, 2, options(2)),
    );
    world.nic.receive(&frame(mac(2), mac(1), IPV4, &[7; 100]));
    world.run(&mut [&mut a, &mut b]);
    assert!(b.receive().is_empty());
    b.greet(1, 100);
    world.run(&mut [&mut a, &mut b]);
    assert_eq!(a.receive().len(), 1, "its address was not taken away");
    assert!(world.nic.take_sent().is_empty());
}

#[test]
fn a_frame_too_long_for_the_wire_or_a_full_card_drops_it() {
    let mut world = World::with_uplink();
    let mut a = Guest::linux(&world, 1, options(1));
    let bytes = frame(GATEWAY, mac(1), IPV4, &[0; 1501]);
    a.send(&Sent::plain(&bytes));
    world.run(&mut [&mut a]);
    world.nic.full.set(true);
    a.send(&Sent::plain(&bytes[..1000]));
    world.run(&mut [&mut a]);
    assert_eq!(a.answers(), [(0, -2), (1, -2)]);
    assert!(world.nic.take_sent().is_empty());
    assert_eq!(a.backend.stats().transmitted.dropped, 2);
}

#[test]
fn a_guest_without_buffers_keeps_few_of_the_card_s_pages_and_not_for_long() {
    let mut world = World::with_uplink();
    let mut a = Guest::with(&world, 1, options(1), LINUX);
    for _ in 0..200 {
        world.nic.receive(&frame(mac(1), GATEWAY, IPV4, &[7; 1000]));
    }
    world.run(&mut [&mut a]);
    a.post(256);
    world.run(&mut [&mut a]);
    assert_eq!(a.receive().len(), 128);
    assert_eq!(a.backend.stats().received.dropped, 72);
}

#[test]
fn a_frame_of_many_pages_reaches_a_guest_whole_and_one_without_scatter_not_at_all() {
    let mut world = World::with_uplink();
    let mut a = Guest::linux(&world, 1, options(1));
    let mut small = Guest::with(&world, 2, options(2), SMALL);
    small.post(64);
    for len in [4000, 4032, 4033, 9000, 65_535] {
        let jumbo = frame(mac(1), GATEWAY, IPV4, &pattern(len));
        world.nic.receive(&jumbo);
        world.run(&mut [&mut a]);
        let got = a.receive().remove(0);
        assert_eq!(got.bytes, jumbo, "{len}");
        assert!(got.buffers <= 17, "{} buffers for {len}", got.buffers);
        a.post(got.buffers);
    }
    world.nic.receive(&frame(mac(2), GATEWAY, IPV4, &[7; 9000]));
    world.run(&mut [&mut a, &mut small]);
    assert!(small.receive().is_empty());
    assert_eq!(small.backend.stats().received.dropped, 1);
}

#[test]
fn a_switch_carries_what_its_card_says() {
    assert_eq!(World::new().switch.mtu(), None);
    assert_eq!(World::with_uplink().switch.mtu(), Some(1500));
}

#[test]
fn frames_that_wait_are_counted_by_their_pages() {
    let mut world = World::with_uplink();
    let mut a = Guest::with(&world, 1, options(1), LINUX);
    for _ in 0..200 {
        world.nic.receive(&frame(mac(1), GATEWAY, IPV4, &[7; 9000]));
    }
    world.run(&mut [&mut a]);
    a.post(256);
    world.run(&mut [&mut a]);
    assert_eq!(a.receive().len(), 128 / 3);
}

#[test]
fn a_switch_ends_with_its_last_owner_and_so_does_its_task() {
    let mut world = World::with_uplink();
    let mut task = world.uplink.take().unwrap();
    assert_eq!(task.run(), None);
    world.switch = crate::netback::Switch::new("other");
    assert_eq!(task.run(), Some(()));
}
