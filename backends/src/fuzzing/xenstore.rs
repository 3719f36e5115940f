//! Clients of the store made of bytes: two guests and a service of dom0's, and the ring page of
//! a third guest.

use alloc::format;
use alloc::vec::Vec;

use guest_abi::ids::DomId;
use guest_abi::io::xs_wire::{MessageHeader, MessageType};
use guest_abi::zerocopy::{FromBytes, IntoBytes};

use super::Seen;
use super::input::Input;
use crate::host::SharedPage;
use crate::host::fake::FakePage;
use crate::xenstore::{Caller, Connection, Permissions, Quota, Store, StoreRing};

/// Steps of one input.
const STEPS: usize = 300;

/// What the parts of a request are mostly made of.
const WORDS: [&str; 24] = [
    "",
    "/",
    "data",
    "data/x",
    "data/x/y",
    "data/z",
    "/local/domain/1/data",
    "/local/domain/2",
    "/local/domain/2/data/x",
    "/local/domain",
    "@introduceDomain",
    "@releaseDomain",
    "@x",
    "T",
    "F",
    "n1",
    "n2",
    "r0",
    "b1",
    "w2",
    "1",
    "2",
    "data//x",
    "token",
];

/// Carries out the steps of some clients.
///
/// # Panics
///
/// When the store breaks a promise.
pub fn xenstore(data: &[u8]) -> Seen {
    let mut input = Input::new(data);
    let mut bench = Bench::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        bench.step(&mut input);
    }
    bench.end()
}

struct Bench {
    store: Store,
    clients: Vec<Option<Connection>>,
    page: FakePage,
    ring: Option<StoreRing<FakePage>>,
    seen: Seen,
}

fn guest(store: &mut Store, number: u16) -> Connection {
    let domain = DomId::new(number);
    let home = format!("/local/domain/{number}");
    let made = store.as_dom0(|root| {
        root.write_with(&home, "", &Permissions::readable_by(DomId::DOM0, domain))?;
        root.write_with(&format!("{home}/data"), "", &Permissions::owned_by(domain))
    });
    made.expect("nodes");
    Connection::new(store.introduce(domain, 1, 1).expect("a new domain"))
}

impl Bench {
    fn new() -> Self {
        let mut store = Store::default();
        let clients = [1, 2].map(|number| Some(guest(&mut store, number)));
        let mut clients = Vec::from(clients);
        clients.push(Some(Connection::new(store.add_client(Caller::DOM0))));
        let page = FakePage::new();
        let client = guest(&mut store, 3).client();
        Self {
            ring: Some(StoreRing::new(page.clone(), client)),
            store,
            clients,
            page,
            seen: Seen::default(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..9 => self.ask(input),
            9 => self.send_raw(input),
            10 => self.drain(input),
            11 | 12 => self.write_page(input),
            13 | 14 => self.run_ring(),
            _ => self.release(input),
        }
        self.check();
    }

    /// A request, more or less well-formed, and its one answer.
    fn ask(&mut self, input: &mut Input<'_>) {
        let client = input.below(self.clients.len());
        let kind = input.choose(MessageType::ALL);
        let tx_id = input.below(4);
        let mut payload = Vec::new();
        for _ in 0..=input.below(3) {
            payload.extend_from_slice(match input.byte() {
                byte @ 0..200 => WORDS[usize::from(byte) % WORDS.len()].as_bytes(),
                byte => input.bytes(usize::from(byte - 200)),
            });
            payload.push(0);
        }
        if input.byte() & 1 != 0 {
            payload.pop();
        }
        let header = MessageHeader {
            kind: kind.number(),
            req_id: 7,
            tx_id: u32::try_from(tx_id).unwrap_or(0),
            len: u32::try_from(payload.len()).unwrap_or(0),
        };
        self.exchange(client, header, &payload);
    }

    fn exchange(&mut self, client: usize, header: MessageHeader, payload: &[u8]) {
        let (store, seen) = (&mut self.store, &mut self.seen);
        let Some(connection) = &mut self.clients[client] else {
            return;
        };
        flush(connection, store);
        let bytes = [header.as_bytes(), payload].concat();
        let Ok(taken) = connection.receive(store, &bytes) else {
            self.clients[client] = None;
            return;
        };
        if taken == bytes.len() && !connection.output().is_empty() {
            let (reply, text) = message(connection.output());
            let class = u32::from(reply.kind == MessageType::Error.number());
            seen.note("reply", header.kind << 1 | class);
            if class == 1 {
                seen.note("error", text.iter().map(|&byte| u32::from(byte)).sum());
            }
        }
    }

    fn send_raw(&mut self, input: &mut Input<'_>) {
        let client = input.below(self.clients.len());
        let count = input.below(64);
        let bytes = input.bytes(count);
        if let Some(connection) = &mut self.clients[client]
            && connection.receive(&mut self.store, bytes).is_err()
        {
            self.clients[client] = None;
            self.seen.note("cut off", 0);
        }
    }

    fn drain(&mut self, input: &mut Input<'_>) {
        let client = input.below(self.clients.len());
        if let Some(connection) = &mut self.clients[client] {
            connection.fill(&mut self.store);
            let mut events = 0;
            while !connection.output().is_empty() {
                let (header, _) = message(connection.output());
                events += usize::from(header.kind == MessageType::WatchEvent.number());
                let count = connection.output().len();
                connection.sent(&mut self.store, count);
            }
            self.seen.count("events", events);
        }
    }

    fn write_page(&mut self, input: &mut Input<'_>) {
        let at = match input.byte() {
            // The indices, mostly.
            byte @ 0..128 => 2048 + usize::from(byte % 8) * 4,
            byte => usize::from(byte - 128) * 8,
        };
        let bytes = input.bytes(16.min(4096 - at));
        self.page.copy_to(at, bytes);
    }

    fn run_ring(&mut self) {
        if let Some(ring) = &mut self.ring {
            let result = ring.run(&mut self.store, 8);
            self.seen.note("ring", u32::from(result.is_err()));
            if result.is_err() {
                self.ring = None;
            }
        }
    }

    /// A domain dies, and perhaps another one is born under its number.
    fn release(&mut self, input: &mut Input<'_>) {
        let client = input.below(2);
        let number = if client == 0 { 1 } else { 2 };
        if self.store.release(DomId::new(number)).is_ok() {
            assert_eq!(self.store.nodes_of(DomId::new(number)), 0);
        }
        self.clients[client] = None;
        if input.byte() & 1 != 0 {
            self.clients[client] = Some(guest(&mut self.store, number));
        }
    }

    fn check(&mut self) {
        for number in 1..=3 {
            let nodes = self.store.nodes_of(DomId::new(number));
            assert!(nodes <= Quota::GUEST.nodes);
            self.seen.note("nodes", nodes.min(8));
        }
    }

    fn end(mut self) -> Seen {
        for number in 1..=3 {
            // To one that was gone before, dom0 may have given nodes since.
            if self.store.release(DomId::new(number)).is_ok() {
                assert_eq!(self.store.nodes_of(DomId::new(number)), 0);
            }
        }
        self.seen
    }
}

/// Lets everything leave that waits.
fn flush(connection: &mut Connection, store: &mut Store) {
    while !connection.output().is_empty() {
        connection.sent(store, connection.output().len());
    }
}

/// The one message there is.
fn message(bytes: &[u8]) -> (MessageHeader, &[u8]) {
    let (header, rest) = MessageHeader::read_from_prefix(bytes).expect("a header");
    assert_eq!(usize::try_from(header.len), Ok(rest.len()));
    (header, rest)
}
