//! xenstore, seen from a guest: one ring to the server in dom0.
//!
//! [`Xenbus`] speaks the protocol without ever waiting: [`send`](Xenbus::send)
//! queues a request, [`receive`](Xenbus::receive) takes what has come. On top of
//! it the verbs ([`read`](Xenbus::read), [`write`](Xenbus::write), …) wait for
//! their answer; an event-driven kernel may use the two halves directly. A
//! [`Device`] is the frontend's half of the handshake with a backend.

mod device;
mod error;
mod message;
mod store;
mod verbs;

use alloc::{collections::VecDeque, vec::Vec};
use core::mem::offset_of;

use guest_abi::{
    Errno, Port, VcpuId,
    io::xs_wire::{MessageHeader, MessageType, PAYLOAD_MAX, RING_SIZE, XenstoreRing},
    zerocopy::{FromBytes, IntoBytes},
};

pub use device::{Device, Life};
pub use error::DeviceError;
pub use guest_abi::io::xenbus::XenbusState;
pub use message::{Message, StoreError, WatchEvent};
pub use store::Store;
#[cfg(test)]
pub(crate) use store::fake;

use crate::{
    arch::{bytes::SharedBytes, memory},
    byte_ring::ByteRing,
    events,
    start::StartOfDay,
};
use message::{answer, parse_event};

/// To the server.
const REQUESTS: ByteRing = ByteRing {
    buffer: offset_of!(XenstoreRing, req),
    size: RING_SIZE,
    produced: offset_of!(XenstoreRing, req_prod),
    consumed: offset_of!(XenstoreRing, req_cons),
};

/// From the server.
const RESPONSES: ByteRing = ByteRing {
    buffer: offset_of!(XenstoreRing, rsp),
    size: RING_SIZE,
    produced: offset_of!(XenstoreRing, rsp_prod),
    consumed: offset_of!(XenstoreRing, rsp_cons),
};

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
        let count = REQUESTS.put(&self.page, self.outgoing.make_contiguous());
        if count > 0 {
            self.outgoing.drain(..count);
            // The server may not be there yet; it looks when it connects.
            let _ = events::send(self.port);
        }
    }

    /// Moves bytes out of the ring.
    fn fill(&mut self) {
        let mut bytes = [0; RING_SIZE];
        let count = RESPONSES.get(&self.page, &mut bytes);
        if count > 0 {
            self.incoming.extend_from_slice(&bytes[..count]);
            let _ = events::send(self.port);
        }
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
            self.sleep();
        }
    }

    /// Sleeps until the server may have written something. Events of other ports are kept for
    /// whoever asks for them.
    fn sleep(&self) {
        if !self.has_input() {
            events::wait_for(VcpuId::new(0), self.port);
        }
    }

    /// Takes all messages that have come; an answer to nobody is dropped.
    fn collect(&mut self) {
        while let Some(message) = self.receive() {
            if message.kind == MessageType::WatchEvent.number() {
                self.fired.extend(parse_event(&message.payload));
            }
        }
    }

    /// Whether bytes wait in the ring.
    fn has_input(&self) -> bool {
        RESPONSES.waiting(&self.page) > 0
    }
}
