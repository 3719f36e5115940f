//! The ring page, with a guest at its other end that may write anything into it.

use super::{Client, M, messages, request};
use crate::host::{SharedPage, fake::FakePage};
use crate::xenstore::{Quota, RingError, Store, StoreRing};
use core::mem::offset_of;
use guest_abi::io::xs_wire::XenstoreRing;
use proptest::prelude::*;

/// A guest's end of the ring page.
struct RingGuest {
    page: FakePage,
    req_prod: u32,
    rsp_cons: u32,
}

impl RingGuest {
    fn new(index: u32) -> Self {
        let page = FakePage::new();
        for offset in [
            offset_of!(XenstoreRing, req_cons),
            offset_of!(XenstoreRing, req_prod),
            offset_of!(XenstoreRing, rsp_cons),
            offset_of!(XenstoreRing, rsp_prod),
        ] {
            page.store_u32(offset, index);
        }
        Self {
            page,
            req_prod: index,
            rsp_cons: index,
        }
    }

    /// Puts as many bytes into the ring as fit; returns the rest.
    fn put<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let req_cons = self.page.load_u32(offset_of!(XenstoreRing, req_cons));
        let room = 1024 - self.req_prod.wrapping_sub(req_cons) as usize;
        let (now, later) = bytes.split_at(bytes.len().min(room));
        for byte in now {
            self.page.copy_to(self.req_prod as usize % 1024, &[*byte]);
            self.req_prod = self.req_prod.wrapping_add(1);
        }
        self.page
            .store_u32(offset_of!(XenstoreRing, req_prod), self.req_prod);
        later
    }

    fn take(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.rsp_cons != self.page.load_u32(offset_of!(XenstoreRing, rsp_prod)) {
            let mut byte = [0];
            self.page
                .copy_from(1024 + self.rsp_cons as usize % 1024, &mut byte);
            bytes.push(byte[0]);
            self.rsp_cons = self.rsp_cons.wrapping_add(1);
        }
        self.page
            .store_u32(offset_of!(XenstoreRing, rsp_cons), self.rsp_cons);
        bytes
    }
}

#[test]
fn messages_bigger_than_the_ring_pass_in_both_directions() {
    let mut store = Store::new(Quota {
        value_bytes: 4000,
        ..Quota::GUEST
    });
    let client = Client::domain(&mut store, 1).connection.client();
    let mut guest = RingGuest::new(u32::MAX - 700);
    let mut ring = StoreRing::new(guest.page.clone(), client);
    let value = vec![b'v'; 3000];
    let write = request(M::Write, 1, 0, &[b"data/x\0", &value[..]].concat());
    let both = [write, request(M::Read, 2, 0, b"data/x\0")].concat();
    let (mut left, mut replies) = (&both[..], Vec::new());
    for _ in 0..20 {
        left = guest.put(left);
        ring.run(&mut store, 8).unwrap();
        replies.extend(guest.take());
    }
    assert!(!ring.wants_to_run(&store).unwrap());
    let replies = messages(&replies);
    assert_eq!(
        (replies[0].req_id, &replies[0].payload[..]),
        (1, &b"OK\0"[..])
    );
    assert_eq!((replies[1].req_id, &replies[1].payload), (2, &value));
}

#[test]
fn an_index_that_jumps_closes_the_connection_and_says_so() {
    for offset in [
        offset_of!(XenstoreRing, req_prod),
        offset_of!(XenstoreRing, rsp_cons),
    ] {
        let mut store = Store::default();
        let client = Client::domain(&mut store, 1).connection.client();
        let guest = RingGuest::new(0);
        let mut ring = StoreRing::new(guest.page.clone(), client);
        guest.page.store_u32(offset, 0x8000_0000);
        assert!(matches!(
            ring.run(&mut store, 8),
            Err(RingError::Index { .. })
        ));
        assert_eq!(guest.page.load_u32(offset_of!(XenstoreRing, error)), 2);
    }
}

#[test]
fn a_guest_that_never_reads_costs_one_reply_and_a_bounded_queue() {
    let mut store = Store::default();
    let client = Client::domain(&mut store, 1).connection.client();
    let mut guest = RingGuest::new(0);
    let mut ring = StoreRing::new(guest.page.clone(), client);
    let watch = request(M::Watch, 1, 0, b"data\0t\0");
    guest.put(&watch);
    ring.run(&mut store, 8).unwrap();
    for n in 0..10_000 {
        store.put(&format!("/local/domain/1/data/{n}"), "").unwrap();
        store
            .as_dom0(|root| root.remove(&format!("/local/domain/1/data/{n}")))
            .unwrap();
        ring.run(&mut store, 8).unwrap();
    }
    let mut events = Vec::new();
    loop {
        ring.run(&mut store, 8).unwrap();
        let bytes = guest.take();
        if bytes.is_empty() {
            break;
        }
        events.extend(bytes);
    }
    assert!(events.len() < 100_000);
    let last = messages(&events).pop().unwrap();
    assert_eq!(
        last.payload, b"data\0t\0",
        "the queue overflowed, so the watch itself fires"
    );
}

proptest! {
    /// Whatever the page holds, the ring either works or closes.
    #[test]
    fn a_random_page_is_survived(words in prop::collection::vec((0..520_usize, any::<u32>()), 1..40)) {
        let mut store = Store::default();
        let client = Client::domain(&mut store, 1).connection.client();
        let page = FakePage::new();
        let mut ring = StoreRing::new(page.clone(), client);
        for (word, value) in words {
            page.store_u32(word * 4, value);
            if ring.run(&mut store, 4).is_err() {
                break;
            }
        }
    }
}
