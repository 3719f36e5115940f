//! From the guest: packets taken from its ring, looked at, and passed on.
//!
//! ```text
//!  ring ─▶ slots checked ─▶ headers copied ─▶ source checked ─▶ switch ─▶ copies planned
//!   ▲                                                                          │
//!   └── answered ◀── receivers told ◀── copied, all in one go ◀────────────────┘
//! ```
//!
//! What is checked is a copy, and what the receiver gets of the checked bytes is that copy.

mod forward;
pub(super) mod validate;

use guest_abi::io::netif::{NetStatus, TxResponse};
use guest_abi::io::ring::Overrun;
use guest_abi::zerocopy::transmute;

use super::next::Next;
use super::offload;
use super::packet::{ETHERNET, HEADER};
use super::ring::{Ring, overrun};
use super::scratch::{Fate, Packet, Scratch};
use super::vif::{Queue, QueueRef};
use crate::host::copy::{granted, skip};
use crate::xenbus::Refusal;
use validate::{Request, SLOT_SIZE, Slot};

/// Slots of a guest's ring that receivers may hold at the same time: the rest keeps moving,
/// whatever a receiver does.
const MAX_HELD: usize = 192;
/// Headers up to TCP without options lie in the first slot if it has as many bytes.
const HEADERS_TOGETHER: u16 = 54;

/// Bytes of a header, counted as those of a slot are.
const MOST: u16 = 192;
const _: () = assert!(MOST as usize == HEADER);

/// A queue from the guest.
pub(super) struct TxQueue {
    ring: Ring<SLOT_SIZE>,
    held: usize,
}

impl TxQueue {
    pub(super) fn new(ring: Ring<SLOT_SIZE>) -> Self {
        Self { ring, held: 0 }
    }

    /// How many requests wait. When none do, the guest is asked to tell of the next.
    fn waiting(&self) -> Result<u32, Overrun> {
        match self.ring.waiting()? {
            0 => {
                self.ring.ask(1);
                self.ring.waiting()
            }
            waiting => Ok(waiting),
        }
    }

    /// Keeps so many slots open, if not too many are.
    fn hold(&mut self, slots: usize) -> bool {
        let fits = self.held + slots <= MAX_HELD;
        if fits {
            self.held += slots;
        }
        fits
    }

    /// The counterpart.
    pub(super) fn unhold(&mut self, slots: usize) {
        self.held = self.held.saturating_sub(slots);
    }

    /// Answers a packet: each of its slots.
    pub(super) fn respond(&mut self, request: &Request, slots: &[Slot], status: NetStatus) {
        for _ in 0..request.extras {
            self.ring.respond(response(0, NetStatus::Null));
        }
        for slot in slots {
            self.ring.respond(response(slot.id, status));
        }
    }

    /// Lets the guest see the answers. Says whether it wants to be told.
    pub(super) fn publish(&mut self) -> bool {
        self.ring.publish()
    }
}

/// A response, and zeros behind it: what a slot of the request's size has.
fn response(id: u16, status: NetStatus) -> [u8; SLOT_SIZE] {
    let status = status.number();
    let mut slot = [0; SLOT_SIZE];
    if let Some(front) = slot.first_chunk_mut::<{ size_of::<TxResponse>() }>() {
        *front = transmute!(TxResponse { id, status });
    }
    slot
}

/// Passes on what a queue has to send: one batch.
pub(super) fn pass(queue: &QueueRef, scratch: &mut Scratch) -> Result<Next, Refusal> {
    let Some(ends) = queue.get() else {
        return Ok(Next::Idle);
    };
    let waiting = ends.tx.borrow().waiting().map_err(overrun)?;
    if waiting == 0 {
        return Ok(Next::Idle);
    }
    let host = &*queue.vif.host;
    let now = host.now();
    scratch.begin();
    let next = take(queue, &mut ends.tx.borrow_mut(), waiting, scratch, now)?;
    if scratch.packets.is_empty() {
        return Ok(next);
    }
    fetch_headers(queue, scratch)?;
    forward::all(queue, scratch, now);
    scratch.plan.run(host);
    offload::deliver(queue, scratch, now);
    answer(queue, ends, scratch);
    Ok(next)
}

/// Takes packets from the requests that wait, as many as the rate allows.
fn take(
    queue: &QueueRef,
    tx: &mut TxQueue,
    waiting: u32,
    scratch: &mut Scratch,
    now: u64,
) -> Result<Next, Refusal> {
    let bytes = waiting as usize * SLOT_SIZE;
    if scratch.raw.len() < bytes {
        scratch.raw.resize(bytes, 0);
    }
    let raw = scratch.raw.get_mut(..bytes).unwrap_or_default();
    tx.ring.peek(raw);
    let (mut raw, _) = raw.as_chunks::<SLOT_SIZE>();
    while !raw.is_empty() && scratch.packets.len() < Scratch::BATCH {
        let start = scratch.slots.len();
        let request = validate::packet(raw, &mut scratch.slots)?;
        if let Some(bucket) = &queue.vif.bucket
            && let Err(later) = bucket.borrow_mut().take(request.size, now)
        {
            scratch.slots.truncate(start);
            return Ok(Next::Wait(later));
        }
        let slots = start..scratch.slots.len();
        let count = slots.len() + usize::from(request.extras);
        tx.ring.take(u32::try_from(count).unwrap_or(0));
        raw = raw.get(count..).unwrap_or_default();
        scratch.packets.push(Packet {
            request,
            slots,
            header_len: 0,
            fate: Fate::Dropped,
        });
    }
    Ok(Next::More)
}

/// Copies the front of each packet to where the guest can't change it.
fn fetch_headers(queue: &QueueRef, scratch: &mut Scratch) -> Result<(), Refusal> {
    let Scratch {
        packets,
        slots,
        plan,
        places,
        ..
    } = scratch;
    for (index, packet) in packets.iter_mut().enumerate() {
        if usize::from(packet.request.size) < ETHERNET {
            continue;
        }
        let place = places.get(index).copied().unwrap_or_default();
        let slots = slots.get(packet.slots.clone()).unwrap_or_default();
        for slot in slots {
            let source = granted(queue.vif.domain, slot.reference, slot.offset);
            let len = slot.len.min(MOST - packet.header_len);
            plan.copy(source, skip(place, packet.header_len), len);
            packet.header_len += len;
            if packet.header_len == MOST || slot.len >= HEADERS_TOGETHER {
                break;
            }
        }
    }
    plan.fetch(&*queue.vif.host)
}

/// Answers the packets that nobody holds.
fn answer(queue: &QueueRef, ends: &Queue, scratch: &Scratch) {
    let traffic = &queue.vif.counters.transmitted;
    let mut tx = ends.tx.borrow_mut();
    for packet in &scratch.packets {
        let slots = scratch.slots.get(packet.slots.clone()).unwrap_or_default();
        let status = match packet.fate {
            Fate::Sent => NetStatus::Okay,
            Fate::Dropped => NetStatus::Dropped,
            Fate::Held => {
                traffic.pass(packet.request.size.into());
                continue;
            }
        };
        match packet.fate {
            Fate::Dropped => traffic.drop(),
            _ => traffic.pass(packet.request.size.into()),
        }
        tx.respond(&packet.request, slots, status);
    }
    let tell = tx.publish();
    drop(tx);
    if tell {
        ends.tx_channel.notify();
    }
}

impl From<validate::Malformed> for Refusal {
    fn from(malformed: validate::Malformed) -> Self {
        Self::new(alloc::format!("transmit ring: {malformed}"))
    }
}
