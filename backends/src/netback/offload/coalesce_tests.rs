//! Segments put together, and cut again.

use super::*;
use crate::host::SharedPage;
use crate::host::fake::FakePage;
use crate::netback::offload::segment::{Segments, seal};
use crate::netback::packet::{IPV4, IPV6};
use crate::netback::testing::{frame, ipv4, ipv6};
use alloc::rc::Rc;
use proptest::prelude::*;

const TOP: usize = 5;

fn lay(bytes: &[u8]) -> Vec<Piece> {
    // In two pieces, to be sure that borders between them do not matter.
    let (one, two) = bytes.split_at(bytes.len().min(700));
    let piece = |bytes: &[u8]| {
        let page = FakePage::with_pages(3);
        page.copy_to(TOP, bytes);
        Piece {
            memory: Rc::new(page),
            offset: TOP,
            len: bytes.len(),
        }
    };
    [one, two].map(piece).into()
}

fn bytes(pieces: &[Piece]) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in pieces {
        let mut part = alloc::vec![0; piece.len];
        piece.read(0, &mut part);
        all.extend(part);
    }
    all
}

/// What a wire brings: a flow's segments, each with what may be odd about it.
#[derive(Clone, Debug)]
struct Flow {
    v6: bool,
    options: usize,
    segments: Vec<(usize, u8, u8)>,
}

fn flows() -> impl Strategy<Value = Flow> {
    let len = prop_oneof![6 => Just(1448_usize), 1 => 0_usize..1448, 1 => 1449_usize..3000];
    let flags = prop_oneof![8 => Just(ACK), 1 => Just(ACK | PSH), 1 => any::<u8>()];
    let odd = prop_oneof![12 => Just(0_u8), 1 => any::<u8>()];
    let segments = proptest::collection::vec((len, flags, odd), 1..60);
    (any::<bool>(), 0_usize..4, segments).prop_map(|(v6, options, segments)| Flow {
        v6,
        options,
        segments,
    })
}

impl Flow {
    fn frames(&self) -> Vec<Vec<u8>> {
        let (mut seq, mut id) = (u32::MAX - 20_000, u16::MAX - 5);
        let mut frames = Vec::new();
        for (len, flags, odd) in &self.segments {
            let mut tcp = alloc::vec![0x12, 0x34, 0, 80];
            tcp.extend(seq.to_be_bytes());
            tcp.extend([0, 0, 0, 1]);
            tcp.push(u8::try_from(5 + self.options).unwrap() << 4);
            tcp.extend([*flags, 1, u8::from(*odd == 1), 0, 0, 0, 0]);
            tcp.extend(alloc::vec![1; self.options * 4]);
            tcp.extend((0..*len).map(|at| (at * 7 + usize::from(id)).to_le_bytes()[0]));
            let mut whole = if self.v6 {
                frame([1; 6], [2; 6], IPV6, &ipv6([7; 16], [9; 16], TCP, &tcp))
            } else {
                let ip = ipv4([10, 0, 0, 1], [10, 0, 0, 2], TCP, &tcp);
                let mut whole = frame([1; 6], [2; 6], IPV4, &ip);
                set16(&mut whole, 18, id).unwrap();
                whole
            };
            let found = layout(&whole).unwrap();
            seal(&mut whole, &found, found.transport_len, Sum::default()).unwrap();
            // Damage, a number left out, an ending of Ethernet's.
            match odd {
                2..=30 => *whole.last_mut().unwrap() ^= 1 << (odd % 8),
                31..=60 => seq = seq.wrapping_add(3),
                61..=90 => id = id.wrapping_add(3),
                91..=120 => whole.push(0),
                _ => {}
            }
            seq = seq.wrapping_add(u32::try_from(*len).unwrap());
            id = id.wrapping_add(1);
            frames.push(whole);
        }
        frames
    }
}

/// What comes out for frames that came in: each packet, with how it is to be cut.
fn coalesce(frames: &[Vec<u8>]) -> Vec<(Vec<u8>, Option<Gso>)> {
    let mut out = Vec::new();
    let mut train: Option<Train> = None;
    let end = |train: Option<Train>, out: &mut Vec<_>| {
        let Some(coupled) = train.map(Train::couple) else {
            return;
        };
        let mut whole = bytes(&coupled.pieces);
        assert_eq!(whole.len(), coupled.size);
        let header = coupled.header();
        whole[..header.len()].copy_from_slice(header);
        out.push((whole, coupled.gso));
    };
    for whole in frames {
        let pieces = lay(whole);
        let first = &whole[..whole.len().min(HEADER)];
        let Some(next) = Incoming::new(first, &pieces, &mut [0; CHUNK]) else {
            end(train.take(), &mut out);
            out.push((whole.clone(), None));
            continue;
        };
        if train
            .as_mut()
            .is_some_and(|train| train.join(&next, &pieces))
        {
            continue;
        }
        end(train.take(), &mut out);
        train = Some(Train::new(&next, &pieces));
    }
    end(train, &mut out);
    out
}

fn cut(whole: &[u8], gso: Gso) -> Vec<Vec<u8>> {
    let header = &whole[..whole.len().min(HEADER)];
    let segments = Segments::new(header, layout(whole).unwrap(), gso, whole.len()).unwrap();
    let payload = &whole[segments.header_len()..];
    let one = |index| {
        let (start, len) = segments.range(index);
        let mut sum = Sum::default();
        sum.add(&payload[start..start + len]);
        let mut bytes = [0; HEADER];
        let headers = segments.write(index, sum, &mut bytes).unwrap();
        [headers, &payload[start..start + len]].concat()
    };
    (0..segments.count()).map(one).collect()
}

proptest! {
    #[test]
    fn what_was_put_together_and_cut_again_is_what_came(flow in flows()) {
        let frames = flow.frames();
        let again: Vec<_> = coalesce(&frames)
            .into_iter()
            .flat_map(|(whole, gso)| match gso {
                Some(gso) => cut(&whole, gso),
                None => alloc::vec![whole],
            })
            .collect();
        prop_assert_eq!(again, frames);
    }
}

fn plain(v6: bool, lens: &[usize]) -> Vec<Vec<u8>> {
    let segments = lens.iter().map(|len| (*len, ACK, 0)).collect();
    let flow = Flow {
        v6,
        options: 3,
        segments,
    };
    flow.frames()
}

#[test]
fn a_run_of_segments_becomes_one_packet_up_to_the_first_short_one() {
    for v6 in [false, true] {
        let out = coalesce(&plain(v6, &[1448, 1448, 1448, 100, 1448]));
        let header = if v6 { 86 } else { 66 };
        let sizes: Vec<_> = out.iter().map(|(whole, _)| whole.len() - header).collect();
        assert_eq!(sizes, [3 * 1448 + 100, 1448]);
        assert_eq!(out[0].1.unwrap().size, 1448);
        assert_eq!(out[1].1, None);
    }
}

#[test]
fn a_merged_packet_is_sealed_but_for_what_its_checksum_covers() {
    let out = coalesce(&plain(false, &[1448, 1448]));
    let (whole, _) = &out[0];
    let found = layout(whole).unwrap();
    assert_eq!(found.transport + found.transport_len, whole.len());
    let mut network = Sum::default();
    network.add(&whole[14..34]);
    assert_eq!(network.finish(), [0; 2]);
    let pseudo = pseudo_header(whole, &found, found.transport_len).unwrap();
    assert_eq!(whole[50..52], pseudo.finish().map(|byte| !byte));
}

#[test]
fn no_packet_grows_beyond_what_ip_can_say() {
    let out = coalesce(&plain(false, &[1448; 60]));
    assert!(out.iter().all(|(whole, _)| whole.len() <= LONGEST));
    assert_eq!(out.len(), 2);
}

#[test]
fn damage_keeps_a_segment_apart() {
    let mut frames = plain(false, &[1448; 3]);
    frames[1][900] ^= 4;
    assert_eq!(coalesce(&frames).len(), 3);
    let mut frames = plain(false, &[1448; 3]);
    frames[1][24] ^= 4;
    assert_eq!(coalesce(&frames).len(), 3, "of the IP header");
}
