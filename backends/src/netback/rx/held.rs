//! Packets that wait for the guest to post buffers.
//!
//! A guest's packet stays where it is, in its sender's pages, and its sender is answered only
//! when it is delivered: so senders are slowed down rather than robbed, and nothing is copied
//! twice. A frame from outside keeps its page. Both are bounded, for the receiver and for the
//! sender. When nothing moves for a while, all is dropped, and until the guest posts buffers
//! again nothing is kept for it.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use guest_abi::grant_table::CopyEnd;
use guest_abi::io::netif::NetStatus;
use guest_abi::io::ring::Overrun;

use super::{Load, RxQueue};
use crate::host::{Host, Piece};
use crate::netback::next::Next;
use crate::netback::packet::Gso;
use crate::netback::plan::{Part, Plan, frame_parts, packet_parts};
use crate::netback::ring::overrun;
use crate::netback::scratch::Scratch;
use crate::netback::tx::validate::{Request, Slot};
use crate::netback::vif::{QueueRef, Vif};
use crate::xenbus::Refusal;

/// Packets that may wait for one queue.
const MAX_WAITING: usize = 256;
/// How long, in nanoseconds, packets wait before the guest is taken to be stalled.
const PATIENCE: u64 = 500_000_000;
/// How often to look at a guest that does not say when it has posted buffers.
const POLL: u64 = 10_000_000;
/// Buffers after which a stalled guest is served again.
const RECOVERED: usize = 32;

/// Pages of ours that wait: counted by whoever gave them.
pub(in crate::netback) struct Token {
    count: Rc<Cell<usize>>,
    pages: usize,
}

impl Token {
    /// So many more, if there are not more than `limit` then.
    pub(in crate::netback) fn new(
        count: &Rc<Cell<usize>>,
        pages: usize,
        limit: usize,
    ) -> Option<Self> {
        let sum = count.get().checked_add(pages);
        count.set(sum.filter(|sum| *sum <= limit)?);
        Some(Self {
            count: count.clone(),
            pages,
        })
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.count.set(self.count.get() - self.pages);
    }
}

/// What waits.
pub(in crate::netback) enum Held {
    /// A guest's packet, in its pages.
    Packet {
        sender: QueueRef,
        header: Vec<u8>,
        slots: Vec<Slot>,
        request: Request,
    },
    /// A frame in pages of ours.
    Frame {
        /// What takes the place of its first bytes; nothing if they lie there.
        header: Vec<u8>,
        pieces: Vec<Piece>,
        /// Its data is known to be good.
        validated: bool,
        /// It was put together of several.
        gso: Option<Gso>,
        #[expect(dead_code, reason = "it counts as long as it is here")]
        token: Token,
    },
}

impl Held {
    fn size(&self) -> usize {
        match self {
            Self::Packet { request, .. } => usize::from(request.size),
            Self::Frame { pieces, .. } => pieces.iter().map(|piece| piece.len).sum(),
        }
    }

    fn header(&self) -> &[u8] {
        let (Self::Packet { header, .. } | Self::Frame { header, .. }) = self;
        header
    }

    /// Its parts, with its header at `place`.
    fn parts(&self, parts: &mut Vec<Part>, plan: &mut Plan, host: &dyn Host, place: CopyEnd) {
        let header = (place, u16::try_from(self.header().len()).unwrap_or(0));
        match self {
            Self::Packet { sender, slots, .. } => {
                packet_parts(parts, sender.vif.domain, header, slots);
            }
            Self::Frame { pieces, .. } => frame_parts(parts, plan, host, header, pieces),
        }
    }

    fn load<'a>(&self, parts: &'a [Part], plan: &mut Plan) -> Load<'a> {
        let (blank, validated, gso, sender) = match self {
            Self::Packet {
                sender, request, ..
            } => {
                let sender = plan.party(sender);
                (request.blank, request.validated, request.gso, Some(sender))
            }
            Self::Frame { validated, gso, .. } => (gso.is_some(), *validated, *gso, None),
        };
        Load {
            parts,
            size: self.size(),
            blank,
            validated,
            gso,
            sender,
        }
    }

    /// Ends it: its sender is answered, but not yet told.
    pub(in crate::netback) fn end(self, plan: &mut Plan, status: NetStatus) {
        if let Self::Packet {
            sender,
            slots,
            request,
            ..
        } = self
        {
            plan.party(&sender);
            sender.release(&request, &slots, status);
        }
    }
}

/// Something that waits, and since when.
pub(in crate::netback) struct Waiting {
    since: u64,
    held: Held,
}

impl RxQueue {
    /// Whether a packet must go behind others that wait.
    pub(in crate::netback) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether anything is to be kept for this guest, or placed at all.
    pub(in crate::netback) fn is_served(&mut self) -> Result<bool, Overrun> {
        if self.stalled {
            self.stalled = !self.has(RECOVERED)?;
        }
        Ok(!self.stalled)
    }

    /// Whether one more may wait.
    pub(in crate::netback) fn may_hold(&self) -> bool {
        self.held.len() < MAX_WAITING
    }

    /// Keeps something until there are buffers.
    pub(in crate::netback) fn hold(&mut self, held: Held, since: u64) {
        self.held.push_back(Waiting { since, held });
    }

    /// Takes out what waits and is from `sender`, or everything.
    pub(in crate::netback) fn take_held(&mut self, sender: Option<&Rc<Vif>>) -> Vec<Held> {
        let from = |held: &Held| match (sender, held) {
            (None, _) => true,
            (Some(vif), Held::Packet { sender, .. }) => Rc::ptr_eq(vif, &sender.vif),
            (Some(_), Held::Frame { .. }) => false,
        };
        let (taken, kept): (Vec<_>, Vec<_>) =
            self.held.drain(..).partition(|waiting| from(&waiting.held));
        self.held.extend(kept);
        taken.into_iter().map(|waiting| waiting.held).collect()
    }

    /// When to look at what waits again; `None` if it has waited too long.
    fn patience(&mut self, slots: usize, now: u64, notifies: bool) -> Result<Next, Overrun> {
        let Some(first) = self.held.front() else {
            return Ok(Next::Idle);
        };
        let deadline = first.since.saturating_add(PATIENCE);
        self.ring.ask(u32::try_from(slots).unwrap_or(1));
        if self.has(slots)? {
            return Ok(Next::More);
        }
        if now >= deadline {
            self.stalled = true;
            return Ok(Next::Idle);
        }
        Ok(Next::Wait(if notifies {
            deadline
        } else {
            deadline.min(now + POLL)
        }))
    }
}

/// Places what waits for a queue, as far as there are buffers.
pub(in crate::netback) fn drain(queue: &QueueRef, scratch: &mut Scratch) -> Result<Next, Refusal> {
    let Some(ends) = queue.get().filter(|ends| ends.rx.borrow().is_waiting()) else {
        return Ok(Next::Idle);
    };
    scratch.begin();
    let mut placed = Vec::new();
    let next = place_all(queue, &mut ends.rx.borrow_mut(), scratch, &mut placed);
    scratch.plan.run(&*queue.vif.host);
    for held in placed {
        held.end(&mut scratch.plan, NetStatus::Okay);
    }
    if ends.rx.borrow().stalled {
        let dropped = ends.rx.borrow_mut().take_held(None);
        for held in dropped {
            queue.vif.counters.received.drop();
            held.end(&mut scratch.plan, NetStatus::Dropped);
        }
    }
    scratch.plan.answer();
    next.map_err(overrun)
}

fn place_all(
    queue: &QueueRef,
    rx: &mut RxQueue,
    scratch: &mut Scratch,
    placed: &mut Vec<Held>,
) -> Result<Next, Overrun> {
    let party = scratch.plan.party(queue);
    for index in 0..Scratch::BATCH {
        let Some(Waiting { since, held }) = rx.held.pop_front() else {
            return Ok(Next::Idle);
        };
        scratch.put_header(index, held.header());
        let header = scratch.header_place(index);
        let host = &*queue.vif.host;
        held.parts(&mut scratch.parts, &mut scratch.plan, host, header);
        let load = held.load(&scratch.parts, &mut scratch.plan);
        let slots = load.slots();
        match rx.place(&load, queue.vif.domain, party, &mut scratch.plan) {
            Ok(true) => {
                queue.vif.counters.received.pass(held.size());
                placed.push(held);
            }
            other => {
                rx.held.push_front(Waiting { since, held });
                other?;
                return rx.patience(slots, queue.vif.host.now(), queue.vif.notifies);
            }
        }
    }
    Ok(Next::More)
}
