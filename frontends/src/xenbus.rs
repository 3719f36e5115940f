//! xenstore, seen from a guest: one ring to the server in dom0.
//!
//! [`Xenbus`] speaks the protocol without ever waiting: [`send`](Xenbus::send)
//! queues a request, [`receive`](Xenbus::receive) takes what has come. On top of
//! it the verbs ([`read`](Xenbus::read), [`write`](Xenbus::write), …) wait for
//! their answer; an event-driven kernel may use the two halves directly.

use alloc::{
    collections::VecDeque,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    fmt,
    mem::offset_of,
    sync::atomic::{Ordering, fence},
};

use guest_abi::{
    Errno, Port, VcpuId,
    io::xs_wire::{MessageHeader, MessageType, PAYLOAD_MAX, RING_SIZE, XenstoreRing},
    zerocopy::{FromBytes, IntoBytes},
};

use crate::{arch::bytes::SharedBytes, arch::memory, events, start::StartOfDay};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The server's answer: an errno name, such as `ENOENT`.
    Refused(String),
    /// The server's answer makes no sense.
    Protocol,
    /// The request does not fit into a message.
    TooLong,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(name) => f.write_str(name),
            Self::Protocol => f.write_str("xenstore sent nonsense"),
            Self::TooLong => f.write_str("request too long"),
        }
    }
}

/// A watch fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// What changed: as the watch named it, relative or absolute.
    pub path: String,
    /// The watch's token.
    pub token: String,
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: u32,
    /// The request it answers.
    pub request: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

/// A transaction, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transaction(u32);

impl Transaction {
    /// Outside any transaction.
    pub const NONE: Self = Self(0);
}

/// The connection to xenstore.
#[derive(Debug)]
pub struct Xenbus {
    page: SharedBytes,
    port: Port,
    /// Bytes of requests for which the ring had no room.
    outgoing: VecDeque<u8>,
    /// Bytes of a message that has not come in full.
    incoming: Vec<u8>,
    next_request: u32,
    fired: VecDeque<WatchEvent>,
}

impl Xenbus {
    /// Opens the connection the builder has prepared; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal of the port.
    pub fn open(start: &StartOfDay) -> Result<Option<Self>, Errno> {
        let Some((frame, port)) = start.store() else {
            return Ok(None);
        };
        events::adopt(port)?;
        Ok(Some(Self {
            page: memory::ring_page(frame),
            port,
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
            next_request: 1,
            fired: VecDeque::new(),
        }))
    }

    /// The port that fires when a message comes or the ring has room again.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Queues a request; answers its number.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooLong`].
    pub fn send(
        &mut self,
        kind: MessageType,
        transaction: Transaction,
        parts: &[&[u8]],
    ) -> Result<u32, StoreError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > PAYLOAD_MAX {
            return Err(StoreError::TooLong);
        }
        let request = self.next_request;
        self.next_request = request.wrapping_add(1).max(1);
        let header = MessageHeader {
            kind: kind.number(),
            req_id: request,
            tx_id: transaction.0,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        };
        self.outgoing.extend(header.as_bytes());
        for part in parts {
            self.outgoing.extend(part.iter());
        }
        self.flush();
        Ok(request)
    }

    /// Takes the next message, if one is there in full.
    pub fn receive(&mut self) -> Option<Message> {
        self.flush();
        self.fill();
        let (header, rest) = MessageHeader::read_from_prefix(&self.incoming).ok()?;
        // A server never sends more; one that does is cut to what is allowed.
        let len = (header.len as usize).min(PAYLOAD_MAX);
        let payload = rest.get(..len)?.to_vec();
        self.incoming.drain(..size_of::<MessageHeader>() + len);
        Some(Message {
            kind: header.kind,
            request: header.req_id,
            payload,
        })
    }

    /// Moves queued bytes into the ring.
    fn flush(&mut self) {
        let produced = self.page.u32(offset_of!(XenstoreRing, req_prod));
        let index = produced.load(Ordering::Relaxed);
        let consumed = self
            .page
            .u32(offset_of!(XenstoreRing, req_cons))
            .load(Ordering::Acquire);
        let room = RING_SIZE.saturating_sub(index.wrapping_sub(consumed) as usize);
        let count = room.min(self.outgoing.len());
        if count == 0 {
            return;
        }
        for offset in 0..count {
            let Some(byte) = self.outgoing.pop_front() else {
                break;
            };
            let place = (index as usize + offset) % RING_SIZE;
            self.page
                .write(offset_of!(XenstoreRing, req) + place, &[byte]);
        }
        produced.store(advance(index, count), Ordering::Release);
        fence(Ordering::SeqCst);
        // The server may not be there yet; it looks when it connects.
        let _ = events::send(self.port);
    }

    /// Moves bytes out of the ring.
    fn fill(&mut self) {
        let consumed = self.page.u32(offset_of!(XenstoreRing, rsp_cons));
        let index = consumed.load(Ordering::Relaxed);
        let produced = self
            .page
            .u32(offset_of!(XenstoreRing, rsp_prod))
            .load(Ordering::Acquire);
        let count = (produced.wrapping_sub(index) as usize).min(RING_SIZE);
        if count == 0 {
            return;
        }
        let start = index as usize % RING_SIZE;
        let first = count.min(RING_SIZE - start);
        let old = self.incoming.len();
        self.incoming.resize(old + count, 0);
        let (head, tail) = self.incoming[old..].split_at_mut(first);
        self.page.read(offset_of!(XenstoreRing, rsp) + start, head);
        self.page.read(offset_of!(XenstoreRing, rsp), tail);
        consumed.store(advance(index, count), Ordering::Release);
        fence(Ordering::SeqCst);
        let _ = events::send(self.port);
    }

    /// Sends a request and waits for its answer; watches that fire meanwhile
    /// are kept for [`next_event`](Self::next_event).
    fn ask(
        &mut self,
        kind: MessageType,
        transaction: Transaction,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, StoreError> {
        let request = self.send(kind, transaction, parts)?;
        loop {
            while let Some(message) = self.receive() {
                if message.kind == MessageType::WatchEvent.number() {
                    self.fired.extend(parse_event(&message.payload));
                } else if message.request == request {
                    return answer(kind, message);
                }
            }
            events::take(VcpuId::new(0), |_| ());
            if !self.has_input() {
                events::wait(VcpuId::new(0));
            }
        }
    }

    /// Whether bytes wait in the ring.
    fn has_input(&self) -> bool {
        let word = |offset| self.page.u32(offset).load(Ordering::Acquire);
        word(offset_of!(XenstoreRing, rsp_prod)) != word(offset_of!(XenstoreRing, rsp_cons))
    }

    /// A node's value.
    ///
    /// # Errors
    ///
    /// The server's refusal; likewise for all verbs below.
    pub fn read(&mut self, within: Transaction, path: &str) -> Result<Vec<u8>, StoreError> {
        self.ask(MessageType::Read, within, &[path.as_bytes(), b"\0"])
    }

    /// Sets a node's value; makes the node and its parents if they are missing.
    pub fn write(
        &mut self,
        within: Transaction,
        path: &str,
        value: &[u8],
    ) -> Result<(), StoreError> {
        self.ask(MessageType::Write, within, &[path.as_bytes(), b"\0", value])
            .map(drop)
    }

    /// The names of a node's children.
    pub fn list(&mut self, within: Transaction, path: &str) -> Result<Vec<String>, StoreError> {
        let names = self.ask(MessageType::Directory, within, &[path.as_bytes(), b"\0"])?;
        Ok(strings(&names))
    }

    /// Removes a node and all below it.
    pub fn remove(&mut self, within: Transaction, path: &str) -> Result<(), StoreError> {
        self.ask(MessageType::Rm, within, &[path.as_bytes(), b"\0"])
            .map(drop)
    }

    /// Watches a node and all below it. The watch fires once at the start.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        let parts: &[&[u8]] = &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
        self.ask(MessageType::Watch, Transaction::NONE, parts)
            .map(drop)
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        let parts: &[&[u8]] = &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
        self.ask(MessageType::Unwatch, Transaction::NONE, parts)
            .map(drop)
    }

    /// Waits for a watch to fire.
    pub fn next_event(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.fired.pop_front() {
                return event;
            }
            while let Some(message) = self.receive() {
                if message.kind == MessageType::WatchEvent.number() {
                    self.fired.extend(parse_event(&message.payload));
                }
            }
            events::take(VcpuId::new(0), |_| ());
            if self.fired.is_empty() && !self.has_input() {
                events::wait(VcpuId::new(0));
            }
        }
    }

    /// Runs `body` as one transaction, again and again until no other change
    /// came between.
    pub fn transaction<T>(
        &mut self,
        mut body: impl FnMut(&mut Self, Transaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            let id = self.ask(MessageType::TransactionStart, Transaction::NONE, &[b"\0"])?;
            let id = strings(&id).first().and_then(|id| id.parse().ok());
            let within = Transaction(id.ok_or(StoreError::Protocol)?);
            let outcome = body(self, within);
            let verdict: &[u8] = if outcome.is_ok() { b"T\0" } else { b"F\0" };
            match self.ask(MessageType::TransactionEnd, within, &[verdict]) {
                Err(StoreError::Refused(name)) if name == "EAGAIN" && outcome.is_ok() => {}
                ended => return outcome.and_then(|value| ended.map(|_| value)),
            }
        }
    }
}

/// Sorts an answer: payload, refusal or nonsense.
fn answer(asked: MessageType, message: Message) -> Result<Vec<u8>, StoreError> {
    if message.kind == asked.number() {
        return Ok(message.payload);
    }
    if message.kind != MessageType::Error.number() {
        return Err(StoreError::Protocol);
    }
    let name = strings(&message.payload).into_iter().next();
    Err(name.map_or(StoreError::Protocol, StoreError::Refused))
}

/// Strings that each end with a NUL.
fn strings(bytes: &[u8]) -> Vec<String> {
    let pieces = bytes
        .split(|&byte| byte == 0)
        .filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| String::from_utf8_lossy(piece).to_string())
        .collect()
}

/// A watch event's path and token.
fn parse_event(payload: &[u8]) -> Option<WatchEvent> {
    let mut parts = strings(payload).into_iter();
    Some(WatchEvent {
        path: parts.next()?,
        token: parts.next()?,
    })
}

/// A free-running index, moved on.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a count is at most the ring's size"
)]
fn advance(index: u32, count: usize) -> u32 {
    index.wrapping_add(count as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_becomes_its_name() {
        let message = Message {
            kind: MessageType::Error.number(),
            request: 1,
            payload: b"ENOENT\0".to_vec(),
        };
        let refused = StoreError::Refused("ENOENT".into());
        assert_eq!(answer(MessageType::Read, message), Err(refused));
    }

    #[test]
    fn an_answer_of_the_wrong_kind_is_nonsense() {
        let message = Message {
            kind: 99,
            request: 1,
            payload: Vec::new(),
        };
        assert_eq!(
            answer(MessageType::Read, message),
            Err(StoreError::Protocol)
        );
    }

    #[test]
    fn a_watch_event_names_its_path_and_its_token() {
        let event = parse_event(b"control/shutdown\0down\0").unwrap();
        assert_eq!((&*event.path, &*event.token), ("control/shutdown", "down"));
    }
}
