//! Segments from the card, put together on their way to a guest.

use alloc::vec::Vec;

use guest_abi::io::netif::RxFlags;

use crate::netback::offload::checksum::Sum;
use crate::netback::offload::segment::Segments;
use crate::netback::packet::{Family, Gso, HEADER, layout};
use crate::netback::testing::{Guest, LINUX, SMALL, World, mac, options, tcp};

/// Somebody outside.
const PEER: u8 = 9;

/// The segments that a wire brings of a packet.
fn wire(whole: &[u8], v6: bool) -> Vec<Vec<u8>> {
    let family = if v6 { Family::V6 } else { Family::V4 };
    let gso = Gso { family, size: 1448 };
    let header = &whole[..whole.len().min(HEADER)];
    let segments = Segments::new(header, layout(whole).unwrap(), gso, whole.len()).unwrap();
    let one = |index| {
        let (start, len) = segments.range(index);
        let start = segments.header_len() + start;
        let payload = &whole[start..start + len];
        let mut sum = Sum::default();
        sum.add(payload);
        let mut bytes = [0; HEADER];
        [segments.write(index, sum, &mut bytes).unwrap(), payload].concat()
    };
    (0..segments.count()).map(one).collect()
}

#[test]
fn segments_that_came_together_reach_a_guest_as_one_packet() {
    for (v6, kind, header) in [(false, 1, 66), (true, 2, 86)] {
        let mut world = World::with_uplink();
        let mut a = Guest::linux(&world, 1, options(1));
        let whole = tcp(v6, mac(1), PEER, 40_000);
        let frames = wire(&whole, v6);
        frames.iter().for_each(|frame| world.nic.receive(frame));
        world.run(&mut [&mut a]);
        let got = a.receive();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].gso, Some((1448, kind)));
        assert_eq!(got[0].buffers, 10);
        let flags = RxFlags::CSUM_BLANK | RxFlags::DATA_VALIDATED;
        assert!(got[0].flags.contains(flags));
        assert_eq!(got[0].bytes[header..], whole[header..]);
        assert_eq!(
            wire(&got[0].bytes, v6),
            frames,
            "cut again, they are the same"
        );
    }
}

#[test]
fn a_guest_that_takes_no_such_packets_gets_the_segments() {
    let mut world = World::with_uplink();
    let mut a = Guest::with(&world, 1, options(1), SMALL);
    a.post(64);
    let frames = wire(&tcp(false, mac(1), PEER, 10_000), false);
    frames.iter().for_each(|frame| world.nic.receive(frame));
    world.run(&mut [&mut a]);
    let got: Vec<_> = a.receive().into_iter().map(|got| got.bytes).collect();
    assert_eq!(got, frames);
}

#[test]
fn flows_and_what_is_no_segment_stay_in_order() {
    let mut world = World::with_uplink();
    let mut a = Guest::linux(&world, 1, options(1));
    let mut frames = wire(&tcp(false, mac(1), PEER, 3 * 1448), false);
    let others = wire(&tcp(false, mac(1), PEER + 1, 2 * 1448), false);
    let last = frames.split_off(2);
    // A bare acknowledgement, and then more.
    let bare = wire(&tcp(false, mac(1), PEER, 0), false);
    let all = [
        &frames[0], &others[0], &frames[1], &others[1], &bare[0], &last[0],
    ];
    all.iter().for_each(|frame| world.nic.receive(frame));
    world.run(&mut [&mut a]);
    let lens: Vec<_> = a.receive().iter().map(|got| got.bytes.len()).collect();
    assert_eq!(lens, [66 + 2 * 1448, 66 + 2 * 1448, 66, 66 + 1448]);
}

#[test]
fn what_was_put_together_waits_for_buffers_like_anything_else() {
    let mut world = World::with_uplink();
    let mut a = Guest::with(&world, 1, options(1), LINUX);
    let whole = tcp(false, mac(1), PEER, 40_000);
    let frames = wire(&whole, false);
    frames.iter().for_each(|frame| world.nic.receive(frame));
    world.run(&mut [&mut a]);
    assert!(a.receive().is_empty());
    a.post(64);
    world.run(&mut [&mut a]);
    let got = a.receive();
    assert_eq!(wire(&got[0].bytes, false), frames);
    assert_eq!(got[0].gso, Some((1448, 1)));
}
