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

use guest_abi::io::netif::NetStatus;

use super::next::Next;
use super::offload;
use super::packet::{ETHERNET, HEADER};
use super::plan::{End, Op, transmit_refused};
use super::ring::{Ring, overrun, word};
use super::scratch::{Fate, Packet, Scratch};
use super::vif::{Queue, QueueRef};
use crate::xenbus::Refusal;
use validate::{Request, SLOT_SIZE, Slot};

/// Slots of a guest's ring that receivers may hold at the same time: the rest keeps moving,
/// whatever a receiver does.
const MAX_HELD: usize = 192;
/// Headers up to TCP without options lie in the first slot if it has as many bytes.
const HEADERS_TOGETHER: u16 = 54;

/// A queue from the guest.
pub(super) struct TxQueue {
    ring: Ring,
    held: usize,
}

impl TxQueue {
    pub(super) fn new(ring: Ring) -> Self {
        Self { ring, held: 0 }
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
        let answer = |id, status: NetStatus| [word(id, status.number().cast_unsigned())];
        for _ in 0..request.extras {
            self.ring.respond(&answer(0, NetStatus::Null));
        }
        for slot in slots {
            self.ring.respond(&answer(slot.id, status));
        }
    }

    /// Lets the guest see the answers. Says whether it wants to be told.
    pub(super) fn publish(&mut self) -> bool {
        self.ring.publish()
    }
}

/// Passes on what a queue has to send: one batch.
pub(super) fn pass(queue: &QueueRef, scratch: &mut Scratch) -> Result<Next, Refusal> {
    let Some(ends) = queue.get() else {
        return Ok(Next::Idle);
    };
    let host = &*queue.vif.host;
    let now = host.now();
    scratch.begin();
    let next = take(queue, &mut ends.tx.borrow_mut(), scratch, now)?;
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

/// Takes packets from the ring, as many as the rate allows.
fn take(
    queue: &QueueRef,
    tx: &mut TxQueue,
    scratch: &mut Scratch,
    now: u64,
) -> Result<Next, Refusal> {
    let mut waiting = tx.ring.waiting().map_err(overrun)?;
    if waiting == 0 {
        tx.ring.ask(1);
        waiting = tx.ring.waiting().map_err(overrun)?;
        if waiting == 0 {
            return Ok(Next::Idle);
        }
    }
    scratch.raw.resize(waiting as usize * SLOT_SIZE, 0);
    tx.ring.peek(&mut scratch.raw);
    let (mut raw, _) = scratch.raw.as_chunks::<SLOT_SIZE>();
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
        ..
    } = scratch;
    let sender = Some(plan.party(queue));
    for (index, packet) in packets.iter_mut().enumerate() {
        if usize::from(packet.request.size) < ETHERNET {
            continue;
        }
        let slots = slots.get(packet.slots.clone()).unwrap_or_default();
        for slot in slots {
            let len = usize::from(slot.len).min(HEADER - packet.header_len);
            plan.ops.push(Op {
                source: End::Grant {
                    domain: queue.vif.domain,
                    reference: slot.reference,
                    offset: usize::from(slot.offset),
                },
                dest: Scratch::header_end(index).skip(packet.header_len),
                len,
                sender,
                announced: None,
            });
            packet.header_len += len;
            if packet.header_len == HEADER || slot.len >= HEADERS_TOGETHER {
                break;
            }
        }
    }
    let failed = plan.copy(&*queue.vif.host);
    plan.ops.clear();
    match failed.first() {
        None => Ok(()),
        Some((op, status)) => Err(transmit_refused(op, *status)),
    }
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
