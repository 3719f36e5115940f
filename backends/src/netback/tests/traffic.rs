//! From guest to guest.

use guest_abi::io::netif::{RxFlags, TxFlags};

use crate::netback::packet::{Family, layout};
use crate::netback::testing::{Guest, SMALL, Sent, World, frame, mac, options, pattern, tcp};

/// Cut as Linux does: headers, then pages.
pub(super) fn cuts(len: usize, header: usize) -> Vec<usize> {
    let pages = (len - header - 1) / 4096;
    core::iter::once(header)
        .chain((0..pages).map(|_| 4096))
        .collect()
}

#[test]
fn a_packet_goes_from_guest_to_guest_and_both_are_told() {
    let mut world = World::new();
    let (mut a, mut b) = (
        Guest::linux(&world, 1, options(1)),
        Guest::linux(&world, 2, options(2)),
    );
    world.run(&mut [&mut a, &mut b]);
    let told = (a.tx_channel.notified.get(), b.rx_channel.notified.get());
    let frame = a.greet(2, 1514);
    world.run(&mut [&mut a, &mut b]);
    let got = b.receive();
    assert_eq!(got.len(), 1);
    assert_eq!((&got[0].bytes, got[0].flags), (&frame, RxFlags::empty()));
    assert_eq!(a.answers(), [(0, 0)]);
    assert_eq!(a.tx_channel.notified.get(), told.0 + 1);
    assert_eq!(b.rx_channel.notified.get(), told.1 + 1);
    let (sent, received) = (a.backend.stats().transmitted, b.backend.stats().received);
    assert_eq!((sent.packets, sent.bytes, sent.dropped), (1, 1514, 0));
    assert_eq!(sent, received);
}

#[test]
fn a_segmentable_packet_stays_in_one_piece() {
    for family in [Family::V4, Family::V6] {
        let mut world = World::new();
        let (mut a, mut b) = (
            Guest::linux(&world, 1, options(1)),
            Guest::linux(&world, 2, options(2)),
        );
        let whole = tcp(family == Family::V6, mac(2), 1, 65_000);
        let kind = if family == Family::V4 { 1 } else { 2 };
        a.send(&Sent {
            bytes: &whole,
            cuts: &cuts(whole.len(), 86),
            flags: TxFlags::CSUM_BLANK | TxFlags::DATA_VALIDATED,
            gso: Some((1448, kind)),
        });
        world.run(&mut [&mut a, &mut b]);
        let got = b.receive().remove(0);
        assert_eq!(got.bytes, whole);
        assert_eq!(got.gso, Some((1448, kind)));
        assert!(
            got.flags
                .contains(RxFlags::CSUM_BLANK | RxFlags::DATA_VALIDATED)
        );
        assert_eq!(got.buffers, 17, "the headers, and a buffer for every page");
        let answers = a.answers();
        assert_eq!(answers.len(), 18);
        assert_eq!(answers.iter().filter(|(_, status)| *status == 1).count(), 1);
        assert!(answers.iter().all(|(_, status)| *status >= 0));
    }
}

#[test]
fn a_small_frontend_gets_segments_with_checksums() {
    let mut world = World::new();
    let mut a = Guest::linux(&world, 1, options(1));
    let mut b = Guest::with(&world, 2, options(2), SMALL);
    b.post(256);
    let whole = tcp(false, mac(2), 1, 20_000);
    a.send(&Sent {
        bytes: &whole,
        cuts: &cuts(whole.len(), 66),
        flags: TxFlags::CSUM_BLANK,
        gso: Some((1448, 1)),
    });
    world.run(&mut [&mut a, &mut b]);
    let got = b.receive();
    assert_eq!(got.len(), 14);
    let mut payload = Vec::new();
    for packet in &got {
        assert!(!packet.flags.contains(RxFlags::CSUM_BLANK) && packet.gso.is_none());
        let found = layout(&packet.bytes).unwrap();
        assert_eq!(found.transport + found.transport_len, packet.bytes.len());
        payload.extend_from_slice(&packet.bytes[66..]);
    }
    assert_eq!(payload, whole[66..]);
    assert_eq!(a.answers().len(), 7);
}

#[test]
fn jumbo_frames_pass_where_the_frontend_takes_them() {
    let mut world = World::new();
    let (mut a, mut b) = (
        Guest::linux(&world, 1, options(1)),
        Guest::linux(&world, 2, options(2)),
    );
    let mut small = Guest::with(&world, 3, options(3), SMALL);
    small.post(256);
    let frame = a.greet(2, 9014);
    a.greet(3, 9014);
    world.run(&mut [&mut a, &mut b, &mut small]);
    assert_eq!(b.receive().remove(0).bytes, frame);
    assert!(small.receive().is_empty());
    assert_eq!(
        a.answers()
            .iter()
            .filter(|(_, status)| *status == -2)
            .count(),
        3
    );
}

#[test]
fn what_is_for_everybody_reaches_everybody_but_its_sender() {
    let mut world = World::with_uplink();
    let mut guests: Vec<_> = (1..5)
        .map(|n| Guest::linux(&world, n, options(n)))
        .collect();
    let packet = frame([0xff; 6], mac(1), 0x0806, &[0; 46]);
    guests[0].send(&Sent::plain(&packet));
    world.run(&mut guests.iter_mut().collect::<Vec<_>>());
    assert!(guests[0].receive().is_empty());
    for guest in &mut guests[1..] {
        assert_eq!(guest.receive().remove(0).bytes, packet);
    }
    assert_eq!(world.nic.take_sent(), [packet]);
}

#[test]
fn what_is_for_nobody_known_bothers_no_guest() {
    let mut world = World::new();
    let (mut a, mut b) = (
        Guest::linux(&world, 1, options(1)),
        Guest::linux(&world, 2, options(2)),
    );
    a.greet(77, 100);
    world.run(&mut [&mut a, &mut b]);
    assert!(b.receive().is_empty());
    assert_eq!(a.answers(), [(0, -2)]);
    assert_eq!(a.backend.stats().transmitted.dropped, 1);
}

#[test]
fn a_packet_s_copied_header_can_t_be_changed_any_more() {
    // The first 192 bytes come from our copy: what the receiver sees is what was checked. The
    // fake host copies at once, so it is enough that they arrive whatever the cut.
    let mut world = World::new();
    let (mut a, mut b) = (
        Guest::linux(&world, 1, options(1)),
        Guest::linux(&world, 2, options(2)),
    );
    let body = pattern(600);
    let packet = frame(mac(2), mac(1), 0x88b5, &body);
    for first in [1, 13, 14, 53, 54, 191, 192, 193] {
        let mut sent = Sent::plain(&packet);
        let cuts = [first, 20, 100];
        sent.cuts = &cuts;
        a.send(&sent);
        world.run(&mut [&mut a, &mut b]);
        assert_eq!(b.receive().remove(0).bytes, packet, "cut at {first}");
    }
}

#[test]
fn a_stream_of_packets_runs_around_the_rings() {
    let mut world = World::new();
    let (mut a, mut b) = (
        Guest::linux(&world, 1, options(1)),
        Guest::linux(&world, 2, options(2)),
    );
    for round in 0..100 {
        let frames: Vec<_> = (0..20).map(|n| a.greet(2, 60 + n * 40 + round)).collect();
        world.run(&mut [&mut a, &mut b]);
        let got: Vec<_> = b.receive().into_iter().map(|packet| packet.bytes).collect();
        assert_eq!(got, frames);
        b.post(20);
        assert_eq!(a.answers().len(), 20);
    }
    assert_eq!(b.rx.answered(), 2000);
}

#[test]
fn a_rate_holds_and_leaves_the_rest_on_the_ring() {
    let mut world = World::new();
    let mut limited = options(1);
    limited.rate = Some(crate::netback::Rate {
        bytes_per_interval: 10_000,
        interval_us: 100_000,
    });
    let (mut a, mut b) = (
        Guest::linux(&world, 1, limited),
        Guest::linux(&world, 2, options(2)),
    );
    for _ in 0..100 {
        a.greet(2, 1000);
    }
    world.run(&mut [&mut a, &mut b]);
    assert_eq!(b.receive().len(), 10);
    assert_eq!(a.answers().len(), 10);
    for _ in 0..5 {
        world.host.advance(100_000_000);
        world.run(&mut [&mut a, &mut b]);
        assert_eq!(b.receive().len(), 10);
    }
}
