//! The ring page between a guest and the store: two byte streams of 1,024 bytes.
//!
//! ```text
//!   req[1024] @0   rsp[1024] @1024   req_cons req_prod rsp_cons rsp_prod @2048   features …
//! ```
//!
//! The indices run freely and are taken modulo 1,024. The guest may write every byte of the page
//! at any time, so each of its indices is read once, must lie within 1,024 of ours, and *ours*
//! are kept here and only published there. A guest that breaks this loses its connection.
//!
//! Order, both ways: index read, barrier, data, barrier, own index, barrier, look again. The last
//! look is needed because the guest rings only when the ring looked empty (or full) to it.

use super::connection::{Connection, ProtocolError};
use super::store::{ClientId, Store};
use crate::host::{SharedPage, full_barrier};
use core::fmt;
use core::mem::offset_of;
use guest_abi::io::xs_wire::{
    ERROR_PROTO, ERROR_RINGIDX, RING_SIZE, SERVER_FEATURE_ERROR, XenstoreRing,
};

const REQ: usize = offset_of!(XenstoreRing, req);
const RSP: usize = offset_of!(XenstoreRing, rsp);
const REQ_CONS: usize = offset_of!(XenstoreRing, req_cons);
const REQ_PROD: usize = offset_of!(XenstoreRing, req_prod);
const RSP_CONS: usize = offset_of!(XenstoreRing, rsp_cons);
const RSP_PROD: usize = offset_of!(XenstoreRing, rsp_prod);
const FEATURES: usize = offset_of!(XenstoreRing, server_features);
const ERROR: usize = offset_of!(XenstoreRing, error);

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// An index that can't be.
    Index {
        /// Which one.
        name: &'static str,
        /// What the guest wrote.
        guest: u32,
        /// Our index on the same ring.
        ours: u32,
    },
    /// The bytes broke the protocol.
    Protocol(ProtocolError),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { name, guest, ours } => {
                write!(
                    f,
                    "ring index {name} is {guest:#x}, too far from ours, {ours:#x}"
                )
            }
            Self::Protocol(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RingError {}

impl From<ProtocolError> for RingError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

/// A connection over a ring page.
#[derive(Debug)]
pub struct StoreRing<P> {
    page: P,
    connection: Connection,
    req_cons: u32,
    rsp_prod: u32,
}

impl<P: SharedPage> StoreRing<P> {
    /// Starts on a ring page; where the indices stand now is where we begin.
    pub fn new(page: P, client: ClientId) -> Self {
        let req_cons = page.load_u32(REQ_CONS);
        let rsp_prod = page.load_u32(RSP_PROD);
        page.store_u32(FEATURES, SERVER_FEATURE_ERROR);
        Self {
            page,
            connection: Connection::new(client),
            req_cons,
            rsp_prod,
        }
    }

    /// The client at the other end.
    pub fn client(&self) -> ClientId {
        self.connection.client()
    }

    /// Moves all bytes that can move. `Ok(true)` asks to notify the guest.
    ///
    /// Does at most `budget` rounds, so that one busy guest doesn't hold up the others; whether
    /// something is left, [`wants_to_run`](Self::wants_to_run) says.
    pub fn run(&mut self, store: &mut Store, budget: usize) -> Result<bool, RingError> {
        self.exchange(store, budget).inspect_err(|error| {
            // Tell the guest why, for its own log; then nobody looks at this page again.
            let code = match error {
                RingError::Index { .. } => ERROR_RINGIDX,
                RingError::Protocol(_) => ERROR_PROTO,
            };
            self.page.store_u32(ERROR, code);
        })
    }

    fn exchange(&mut self, store: &mut Store, budget: usize) -> Result<bool, RingError> {
        let mut notify = false;
        for _ in 0..budget {
            self.connection.fill(store);
            let moved = self.transmit(store)? + self.receive(store)?;
            if moved == 0 {
                break;
            }
            notify = true;
        }
        Ok(notify)
    }

    /// Whether another [`run`](Self::run) would find something to do.
    pub fn wants_to_run(&self, store: &Store) -> Result<bool, RingError> {
        let output = !self.connection.output().is_empty() || store.has_events(self.client());
        let input = self.connection.wants()? > 0 && self.used()? > 0;
        Ok(input || output && self.room()? > 0)
    }

    /// Bytes the guest has put into the request ring.
    fn used(&self) -> Result<usize, RingError> {
        let guest = self.page.load_u32(REQ_PROD);
        bounded(
            "req_prod",
            guest,
            self.req_cons,
            guest.wrapping_sub(self.req_cons),
        )
    }

    /// Bytes free in the response ring.
    fn room(&self) -> Result<usize, RingError> {
        let guest = self.page.load_u32(RSP_CONS);
        let used = self.rsp_prod.wrapping_sub(guest);
        Ok(RING_SIZE - bounded("rsp_cons", guest, self.rsp_prod, used)?)
    }

    fn receive(&mut self, store: &mut Store) -> Result<usize, RingError> {
        let available = self.used()?;
        full_barrier();
        let mut buffer = [0; RING_SIZE];
        let mut taken = 0;
        while taken < available {
            let wanted = self.connection.wants()?.min(available - taken);
            let Some(chunk) = buffer.get_mut(..wanted).filter(|chunk| !chunk.is_empty()) else {
                break;
            };
            for (start, piece) in pieces(self.req_cons, chunk) {
                self.page.copy_from(REQ + start, piece);
            }
            let used = self.connection.receive(store, chunk)?;
            taken += used;
            self.req_cons = self.req_cons.wrapping_add(index(used));
        }
        full_barrier();
        self.page.store_u32(REQ_CONS, self.req_cons);
        full_barrier();
        Ok(taken)
    }

    fn transmit(&mut self, store: &mut Store) -> Result<usize, RingError> {
        let room = self.room()?;
        full_barrier();
        let mut sent = 0;
        while sent < room && !self.connection.output().is_empty() {
            let output = self.connection.output();
            let chunk = output
                .get(..output.len().min(room - sent))
                .unwrap_or_default();
            let start = ring_offset(self.rsp_prod);
            let (first, second) = chunk.split_at(chunk.len().min(RING_SIZE - start));
            self.page.copy_to(RSP + start, first);
            self.page.copy_to(RSP, second);
            let count = chunk.len();
            self.connection.sent(store, count);
            sent += count;
            self.rsp_prod = self.rsp_prod.wrapping_add(index(count));
        }
        full_barrier();
        self.page.store_u32(RSP_PROD, self.rsp_prod);
        full_barrier();
        Ok(sent)
    }
}

/// `distance` between the guest's index and ours, if it is one that can be.
fn bounded(name: &'static str, guest: u32, ours: u32, distance: u32) -> Result<usize, RingError> {
    match usize::try_from(distance) {
        Ok(distance) if distance <= RING_SIZE => Ok(distance),
        _ => Err(RingError::Index { name, guest, ours }),
    }
}

/// Where an index points to in its ring.
fn ring_offset(position: u32) -> usize {
    usize::try_from(position).unwrap_or(0) % RING_SIZE
}

/// A count of at most a ring's size, as an index.
fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(0)
}

/// The one or two stretches of the ring that `buffer` covers from `position` on.
fn pieces(position: u32, buffer: &mut [u8]) -> impl Iterator<Item = (usize, &mut [u8])> {
    let start = ring_offset(position);
    let middle = buffer.len().min(RING_SIZE - start);
    let (first, second) = buffer.split_at_mut(middle);
    [(start, first), (0, second)].into_iter()
}
