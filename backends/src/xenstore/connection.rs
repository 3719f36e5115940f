//! One client's byte streams, turned into requests and replies: bytes in, bytes out.
//!
//! The next request is looked at only when the reply to the last one has left, so a client that
//! sends and never reads costs one message each way, and its requests wait in its own ring.
//! Events go out between replies, never inside one.

use super::serve::serve;
use super::store::{ClientId, Store};
use alloc::vec::Vec;
use core::fmt;
use guest_abi::io::xs_wire::{MessageHeader, MessageType, PAYLOAD_MAX};
use guest_abi::zerocopy::{FromBytes, IntoBytes};

/// Bytes in front of every payload.
const HEADER_SIZE: usize = size_of::<MessageHeader>();

/// A client that broke the protocol beyond answering: its connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// It announced a message longer than any may be.
    MessageTooLong(u32),
    /// The store no longer knows it.
    Disconnected,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MessageTooLong(length) => {
                write!(
                    f,
                    "announced a message of {length} bytes, {PAYLOAD_MAX} are allowed"
                )
            }
            Self::Disconnected => f.write_str("was disconnected"),
        }
    }
}

impl core::error::Error for ProtocolError {}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    client: ClientId,
    /// The message being received: its header, then its payload.
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` has left.
    sent: usize,
}

impl Connection {
    /// A connection of a client that the store knows.
    pub fn new(client: ClientId) -> Self {
        Self {
            client,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
        }
    }

    /// The client at the other end.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// How many bytes it can take now: 0 while a reply waits to be sent.
    pub fn wants(&self) -> Result<usize, ProtocolError> {
        if self.output().is_empty() {
            self.missing()
        } else {
            Ok(0)
        }
    }

    /// Bytes that lack to complete the header or, when that is there, the payload.
    fn missing(&self) -> Result<usize, ProtocolError> {
        let Some(header) = self.header() else {
            return Ok(HEADER_SIZE - self.input.len());
        };
        match usize::try_from(header.len) {
            Ok(length) if length <= PAYLOAD_MAX => Ok(HEADER_SIZE + length - self.input.len()),
            _ => Err(ProtocolError::MessageTooLong(header.len)),
        }
    }

    fn header(&self) -> Option<MessageHeader> {
        MessageHeader::read_from_prefix(&self.input)
            .ok()
            .map(|(header, _)| header)
    }

    /// Takes bytes of the client, as many as it wants; the request is carried out with its last
    /// byte. Returns how many were taken.
    pub fn receive(&mut self, store: &mut Store, bytes: &[u8]) -> Result<usize, ProtocolError> {
        if !store.has_client(self.client) {
            return Err(ProtocolError::Disconnected);
        }
        let mut taken = 0;
        while taken < bytes.len() {
            let wanted = self.wants()?.min(bytes.len() - taken);
            let Some(chunk) = bytes.get(taken..taken + wanted).filter(|c| !c.is_empty()) else {
                break;
            };
            self.input.extend_from_slice(chunk);
            taken += wanted;
            if self.missing()? > 0 {
                continue;
            }
            if let Some(header) = self.header() {
                self.answer(store, header);
            }
        }
        Ok(taken)
    }

    fn answer(&mut self, store: &mut Store, header: MessageHeader) {
        let payload = self.input.get(HEADER_SIZE..).unwrap_or_default();
        let (kind, reply) = match serve(store, self.client, &header, payload) {
            Ok(reply) => (header.kind, reply),
            Err(error) => {
                let name = [error.wire_name().as_bytes(), b"\0"].concat();
                (MessageType::Error.number(), name)
            }
        };
        self.input.clear();
        self.send(MessageHeader { kind, ..header }, &reply);
    }

    /// Bytes that wait to be sent.
    pub fn output(&self) -> &[u8] {
        self.output.get(self.sent..).unwrap_or_default()
    }

    /// Notes that so many bytes of the output have left; when none remain, the next event of
    /// the client is put in their place.
    pub fn sent(&mut self, store: &mut Store, count: usize) {
        self.sent = (self.sent + count).min(self.output.len());
        self.fill(store);
    }

    /// Puts the client's next event into the output if there is nothing else to send.
    pub fn fill(&mut self, store: &mut Store) {
        if !self.output().is_empty() {
            return;
        }
        if let Some(event) = store.next_event(self.client) {
            let header = MessageHeader {
                kind: MessageType::WatchEvent.number(),
                ..MessageHeader::default()
            };
            self.send(header, &event.to_wire());
        }
    }

    /// Replaces the output, which has left, by a message.
    fn send(&mut self, header: MessageHeader, payload: &[u8]) {
        // Every payload made here fits a message; a longer one would be a bug, and an empty
        // answer is kinder to the client than a broken stream.
        let payload = payload
            .get(..payload.len().min(PAYLOAD_MAX))
            .unwrap_or_default();
        let len = u32::try_from(payload.len()).unwrap_or(0);
        self.sent = 0;
        self.output.clear();
        self.output
            .extend_from_slice(MessageHeader { len, ..header }.as_bytes());
        self.output.extend_from_slice(payload);
    }
}
