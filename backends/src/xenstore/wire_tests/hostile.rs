//! Clients that send anything but requests.

use super::{Client, M, messages, ok, request};
use crate::xenstore::{ProtocolError, Store};
use guest_abi::ids::DomId;
use guest_abi::io::xs_wire::MessageHeader;
use guest_abi::zerocopy::IntoBytes;
use proptest::prelude::*;

#[test]
fn a_message_that_announces_too_much_ends_the_connection() {
    let mut store = Store::default();
    let mut guest = Client::domain(&mut store, 1);
    let header = MessageHeader {
        kind: 2,
        req_id: 1,
        tx_id: 0,
        len: 4097,
    };
    let end = guest.connection.receive(&mut store, header.as_bytes());
    assert_eq!(end, Err(ProtocolError::MessageTooLong(4097)));
}

#[test]
fn a_released_domains_connection_is_dead() {
    let mut store = Store::default();
    let mut guest = Client::domain(&mut store, 1);
    store.release(DomId::new(1)).unwrap();
    let bytes = request(M::Read, 1, 0, b"data\0");
    let end = guest.connection.receive(&mut store, &bytes);
    assert_eq!(end, Err(ProtocolError::Disconnected));
}

proptest! {
    /// However the bytes are cut, the replies are the same.
    #[test]
    fn partial_writes_make_no_difference(cuts in prop::collection::vec(1..40_usize, 1..30)) {
        let requests = [
            request(M::Write, 1, 0, b"data/x\0value"),
            request(M::Read, 2, 0, b"data/x\0"),
            request(M::ResetWatches, 3, 0, b""),
            request(M::Directory, 4, 0, b"data\0"),
        ].concat();
        let mut store = Store::default();
        let mut guest = Client::domain(&mut store, 1);
        let mut replies = Vec::new();
        let (mut left, mut cuts) = (&requests[..], cuts.iter().cycle());
        while !left.is_empty() {
            let piece = &left[..left.len().min(*cuts.next().unwrap())];
            let taken = guest.connection.receive(&mut store, piece).unwrap();
            left = &left[taken..];
            let count = guest.connection.output().len().min(*cuts.next().unwrap());
            replies.extend_from_slice(&guest.connection.output()[..count]);
            guest.connection.sent(&mut store, count);
        }
        replies.extend_from_slice(guest.connection.output());
        let replies: Vec<_> = messages(&replies).into_iter().map(|m| m.payload).collect();
        prop_assert_eq!(replies, [&b"OK\0"[..], b"value", b"OK\0", b"x\0"].map(<[u8]>::to_vec));
    }

    /// Whatever bytes come, nothing panics and others are served.
    #[test]
    fn random_bytes_harm_nobody(
        headers in prop::collection::vec((0..25_u32, any::<u8>(), 0..3_u32, prop::collection::vec(
            prop_oneof![Just(0_u8), Just(b'/'), Just(b'@'), Just(b'T'), Just(b'1'), any::<u8>()],
            0..40,
        )), 1..60),
    ) {
        let mut store = Store::default();
        let mut guest = Client::domain(&mut store, 1);
        for (kind, id, tx_id, payload) in headers {
            let len = u32::try_from(payload.len()).unwrap();
            let header = MessageHeader { kind, req_id: id.into(), tx_id, len };
            let bytes = [header.as_bytes(), &payload[..]].concat();
            prop_assert_eq!(guest.connection.receive(&mut store, &bytes), Ok(bytes.len()));
            while !guest.connection.output().is_empty() {
                let count = guest.connection.output().len();
                guest.connection.sent(&mut store, count);
            }
        }
        let mut other = Client::domain(&mut store, 2);
        prop_assert_eq!(other.ask(&mut store, M::Write, "data/x\x001"), ok());
    }
}
