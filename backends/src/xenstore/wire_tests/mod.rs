//! The store as a client sees it, down to the bytes.

mod basics;
mod hostile;
mod ring;
mod watches;

use super::{Caller, Connection, Permissions, Store};
use guest_abi::ids::DomId;
use guest_abi::io::xs_wire::{MessageHeader, MessageType as M};
use guest_abi::zerocopy::{FromBytes, IntoBytes};

/// A client at the far end of a connection.
struct Client {
    connection: Connection,
    next_id: u32,
}

/// A message taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    kind: Option<M>,
    req_id: u32,
    payload: Vec<u8>,
}

fn request(kind: M, req_id: u32, tx_id: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    let header = MessageHeader {
        kind: kind.number(),
        req_id,
        tx_id,
        len,
    };
    [header.as_bytes(), payload].concat()
}

fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (header, rest) = MessageHeader::read_from_prefix(bytes).unwrap();
        let (payload, rest) = rest.split_at(header.len as usize);
        let (kind, payload) = (M::from_number(header.kind), payload.to_vec());
        all.push(Message {
            kind,
            req_id: header.req_id,
            payload,
        });
        bytes = rest;
    }
    all
}

impl Client {
    fn domain(store: &mut Store, domain: u16) -> Self {
        let home = format!("/local/domain/{domain}");
        let owner = DomId::new(domain);
        let permissions = Permissions::readable_by(DomId::DOM0, owner);
        store
            .as_dom0(|root| root.write_with(&home, "", &permissions))
            .unwrap();
        let data = format!("{home}/data");
        let mine = Permissions::owned_by(owner);
        store
            .as_dom0(|root| root.write_with(&data, "", &mine))
            .unwrap();
        let client = store.introduce(owner, 1, 1).unwrap();
        Self {
            connection: Connection::new(client),
            next_id: 1,
        }
    }

    fn dom0(store: &mut Store) -> Self {
        let client = store.add_client(Caller::DOM0);
        Self {
            connection: Connection::new(client),
            next_id: 1,
        }
    }

    /// Sends a request and reads until its reply; events before it are dropped.
    fn call_in(&mut self, store: &mut Store, tx: u32, kind: M, payload: &[u8]) -> (M, Vec<u8>) {
        self.next_id += 1;
        let bytes = request(kind, self.next_id, tx, payload);
        while !self.connection.output().is_empty() {
            self.connection.sent(store, usize::MAX / 2);
        }
        assert_eq!(self.connection.receive(store, &bytes), Ok(bytes.len()));
        let reply = messages(self.connection.output()).remove(0);
        self.connection.sent(store, self.connection.output().len());
        assert_eq!(reply.req_id, self.next_id);
        (reply.kind.unwrap(), reply.payload)
    }

    fn call(&mut self, store: &mut Store, kind: M, payload: &[u8]) -> (M, Vec<u8>) {
        self.call_in(store, 0, kind, payload)
    }

    /// The reply's payload as text, or the error's name in `Err`.
    fn ask(&mut self, store: &mut Store, kind: M, payload: &str) -> Result<String, String> {
        let (reply, payload) = self.call(store, kind, payload.as_bytes());
        let text = String::from_utf8(payload).unwrap();
        if reply == M::Error {
            Err(text.trim_end_matches('\0').to_owned())
        } else {
            Ok(text)
        }
    }

    /// All events that wait, as `path|token`.
    fn events(&mut self, store: &mut Store) -> Vec<String> {
        let mut all = Vec::new();
        self.connection.fill(store);
        while !self.connection.output().is_empty() {
            for message in messages(self.connection.output()) {
                assert_eq!((message.kind, message.req_id), (Some(M::WatchEvent), 0));
                let text = String::from_utf8(message.payload).unwrap();
                all.push(text.trim_end_matches('\0').replace('\0', "|"));
            }
            self.connection.sent(store, self.connection.output().len());
        }
        all
    }
}

fn ok() -> Result<String, String> {
    Ok("OK\0".into())
}

fn refused(name: &str) -> Result<String, String> {
    Err(name.into())
}
