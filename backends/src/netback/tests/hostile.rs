//! Frontends that break the rules.

use guest_abi::ids::GrantRef;
use guest_abi::io::netif::TxFlags;

use crate::host::SharedPage;
use crate::netback::testing::{Guest, LINUX, Sent, World, frame, mac, options, tcp};

/// Lets a guest do something wrong; it alone is disconnected, with a reason.
fn attack(reason: &str, wrong: impl FnOnce(&World, &mut Guest)) {
    let mut world = World::with_uplink();
    let mut evil = Guest::linux(&world, 1, options(1));
    let (mut b, mut c) = (
        Guest::linux(&world, 2, options(2)),
        Guest::linux(&world, 3, options(3)),
    );
    world.run(&mut [&mut evil, &mut b, &mut c]);
    wrong(&world, &mut evil);
    evil.tx_channel.send();
    b.greet(1, 100);
    world.run(&mut [&mut evil, &mut b, &mut c]);
    assert!(evil.is_disconnected(), "{reason}");
    assert!(
        evil.back("error").contains(reason),
        "{}",
        evil.back("error")
    );
    assert_eq!(evil.back("state"), "5");
    b.greet(3, 100);
    world.run(&mut [&mut evil, &mut b, &mut c]);
    assert_eq!(c.receive().len(), 1, "nobody else notices");
    assert_eq!(b.answers().len(), 2);
    assert_eq!((world.switch.ports(), world.host.mapped()), (3, 4));
}

#[test]
fn a_producer_index_that_jumps_disconnects() {
    for jump in [257, 0x8000_0000, u32::MAX] {
        attack("claims", |_, evil| evil.tx.page.store_u32(0, jump));
        attack("claims", |_, evil| {
            let buffers = evil.rx.page.load_u32(8).wrapping_add(jump);
            evil.rx.page.store_u32(0, buffers);
        });
    }
}

#[test]
fn a_bad_grant_to_send_from_disconnects() {
    attack("grant 7777: BadGntref", |_, evil| {
        evil.request(GrantRef::new(7777), 0, TxFlags::empty(), 100);
        evil.push();
    });
}

#[test]
fn a_grant_revoked_behind_the_header_disconnects_the_sender_only() {
    attack("grant 7777: BadGntref", |_, evil| {
        let packet = frame(mac(2), mac(1), 0x88b5, &[1; 86]);
        let mut sent = Sent::plain(&packet);
        sent.flags = TxFlags::empty();
        evil.queue(&sent);
        // Its packet goes on where nothing is.
        evil.tx.page.store_u32(
            64 + 4,
            evil.tx.page.load_u32(64 + 4) | u32::from(TxFlags::MORE_DATA.bits()) << 16,
        );
        evil.tx.page.store_u32(64 + 8, 600 << 16);
        evil.request(GrantRef::new(7777), 0, TxFlags::empty(), 500);
        evil.push();
    });
}

#[test]
fn a_bad_buffer_disconnects_the_receiver_only() {
    attack(
        "buffer to receive into: grant 356: BadGntref",
        |world, evil| {
            for index in 0..256 {
                world.host.revoke(evil.domain, GrantRef::new(100 + index));
            }
            // All buffers are gone; take them up from one that never was.
            evil.rx.page.store_u32(64 + 4, 356);
        },
    );
}

#[test]
fn malformed_chains_disconnect() {
    attack("goes on beyond", |_, evil| {
        evil.request(GrantRef::new(100), 0, TxFlags::MORE_DATA, 100);
        evil.push();
    });
    attack("more than 18 slots", |_, evil| {
        evil.request(GrantRef::new(100), 0, TxFlags::MORE_DATA, 1000);
        for _ in 0..30 {
            evil.request(GrantRef::new(100), 0, TxFlags::MORE_DATA, 1);
        }
        evil.push();
    });
    attack("crosses its page", |_, evil| {
        evil.request(GrantRef::new(100), 4000, TxFlags::empty(), 100);
        evil.push();
    });
    attack("segmentation of kind 9", |_, evil| {
        evil.request(GrantRef::new(100), 0, TxFlags::EXTRA_INFO, 100);
        evil.tx.push(&[1, 0, 0, 5, 9, 0, 0, 0, 0, 0, 0, 0]);
        evil.push();
    });
}

#[test]
fn a_packet_shorter_than_its_header_is_dropped() {
    let mut world = World::new();
    let mut a = Guest::linux(&world, 1, options(1));
    for size in [0, 1, 13] {
        a.request(GrantRef::new(100), 0, TxFlags::empty(), size);
    }
    a.push();
    world.run(&mut [&mut a]);
    assert_eq!(a.answers(), [(0, -2), (1, -2), (2, -2)]);
}

#[test]
fn segmentation_that_lies_is_dropped() {
    let mut world = World::with_uplink();
    let mut a = Guest::linux(&world, 1, options(1));
    let gateway = [2; 6];
    let packet = tcp(false, gateway, 1, 3000);
    for gso in [(1, 1), (1448, 2)] {
        let mut sent = Sent::plain(&packet);
        sent.gso = Some(gso);
        a.send(&sent);
    }
    let other = frame(gateway, mac(1), 0x88b5, &[0; 2000]);
    let mut sent = Sent::plain(&other);
    sent.flags = TxFlags::CSUM_BLANK;
    a.send(&sent);
    world.run(&mut [&mut a]);
    assert!(world.nic.take_sent().is_empty());
    assert_eq!(
        a.answers()
            .iter()
            .filter(|(_, status)| *status == -2)
            .count(),
        3
    );
    assert_eq!(a.back("state"), "4");
}

#[test]
fn responses_that_are_never_consumed_cost_nothing() {
    let mut world = World::new();
    let (mut a, mut b) = (
        Guest::linux(&world, 1, options(1)),
        Guest::linux(&world, 2, options(2)),
    );
    for _ in 0..10 {
        for _ in 0..100 {
            a.greet(2, 100);
        }
        world.run(&mut [&mut a, &mut b]);
        b.post(100);
    }
    // Nothing says that either has seen any answer: if they lose some, that is their loss.
    assert_eq!((a.tx.answered(), b.rx.answered()), (1000, 1000));
}

#[test]
fn a_storm_of_broadcasts_drops_what_finds_no_room() {
    let mut world = World::new();
    let mut a = Guest::linux(&world, 1, options(1));
    let mut b = Guest::with(&world, 2, options(2), LINUX);
    let storm = frame([0xff; 6], mac(1), 0x0806, &[0; 46]);
    for _ in 0..20 {
        for _ in 0..200 {
            a.queue(&Sent::plain(&storm));
        }
        a.push();
        world.run(&mut [&mut a, &mut b]);
        assert_eq!(a.answers().len(), 200);
    }
    assert_eq!(b.backend.stats().received.dropped, 4000);
}
