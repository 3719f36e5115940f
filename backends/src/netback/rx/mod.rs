//! To the guest: packets placed into the buffers it has posted.
//!
//! Every response takes the slot of one request, in order. A packet's first response carries its
//! flags; segmentation takes a slot behind it, whose buffer goes unused.
//!
//! Two ways to lay out a packet: packed into as few buffers as possible, or so that no part of it
//! is ever split between two. The second saves copies, and is taken where it costs hardly more
//! buffers: each of those is dearer to the guest than a copy is to us.

pub(super) mod held;

use alloc::collections::VecDeque;
use core::ops::Range;

use guest_abi::grant_table::CopyEnd;
use guest_abi::io::netif::{
    ExtraInfo, ExtraType, GSO_TYPE_TCPV4, GSO_TYPE_TCPV6, NetStatus, RxFlags, RxRequest, RxResponse,
};
use guest_abi::io::ring::Overrun;
use guest_abi::zerocopy::{FromZeros, IntoBytes, transmute};
use guest_abi::{DomId, PAGE_SIZE};

use super::packet::{Family, Gso};
use super::plan::{Concerned, Part, Plan};
use super::ring::Ring;
use crate::host::copy::{granted, skip};
use held::Waiting;

/// Bytes of a slot on the ring.
const SLOT_SIZE: usize = size_of::<RxResponse>();
/// Buffers that any frontend takes for one packet.
const MAX_BUFFERS: usize = 17;
/// Slots a packet can take at most: its buffers and one for its segmentation.
pub(super) const MAX_SLOTS: usize = MAX_BUFFERS + 1;
/// Bytes of a buffer.
const BUFFER: u16 = 4096;

const _: () = assert!(BUFFER as usize == PAGE_SIZE && size_of::<RxRequest>() == SLOT_SIZE);

/// A packet to be placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) parts: &'a [Part],
    pub(super) size: usize,
    /// Its checksum is still to be computed.
    pub(super) blank: bool,
    /// Its data is known to be good.
    pub(super) validated: bool,
    pub(super) gso: Option<Gso>,
    /// Whose it is, if a guest's: by its number in the plan.
    pub(super) sender: Option<usize>,
}

/// How a packet lies in its buffers.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// No part is split between two.
    whole: bool,
    buffers: usize,
}

impl Load<'_> {
    fn layout(&self) -> Layout {
        let packed = self.size.div_ceil(PAGE_SIZE).max(1);
        let (mut buffers, mut used) = (0, BUFFER);
        for part in self.parts {
            if part.len > BUFFER - used {
                (buffers, used) = (buffers + 1, 0);
            }
            used = used.saturating_add(part.len).min(BUFFER);
        }
        let most = (packed + packed / 8).min(MAX_BUFFERS);
        let whole = packed <= buffers && buffers <= most;
        Layout {
            whole,
            buffers: if whole { buffers } else { packed },
        }
    }

    /// How many slots it takes.
    pub(super) fn slots(&self) -> usize {
        self.layout().buffers + usize::from(self.gso.is_some())
    }

    fn flags(&self) -> RxFlags {
        let mut flags = RxFlags::empty();
        flags.set(RxFlags::CSUM_BLANK, self.blank);
        flags.set(RxFlags::DATA_VALIDATED, self.blank || self.validated);
        flags.set(RxFlags::EXTRA_INFO, self.gso.is_some());
        flags
    }
}

/// A queue towards the guest.
pub(super) struct RxQueue {
    ring: Ring<SLOT_SIZE>,
    /// Requests seen to wait and not yet taken.
    known: u32,
    held: VecDeque<Waiting>,
    /// The guest has not posted buffers for long: nothing is kept for it.
    stalled: bool,
}

impl RxQueue {
    pub(super) fn new(ring: Ring<SLOT_SIZE>) -> Self {
        Self {
            ring,
            known: 0,
            held: VecDeque::new(),
            stalled: false,
        }
    }

    /// Whether so many buffers are there.
    fn has(&mut self, slots: usize) -> Result<bool, Overrun> {
        if (self.known as usize) < slots {
            self.known = self.ring.waiting()?;
        }
        Ok(self.known as usize >= slots)
    }

    /// Places a packet, if there are buffers for it.
    pub(super) fn place(
        &mut self,
        load: &Load<'_>,
        domain: DomId,
        party: usize,
        plan: &mut Plan,
    ) -> Result<bool, Overrun> {
        let layout = load.layout();
        let slots = layout.buffers + usize::from(load.gso.is_some());
        let mut requests = [RxRequest::new_zeroed(); MAX_SLOTS];
        let Some(requests) = requests.get_mut(..slots) else {
            return Ok(false);
        };
        if !self.has(slots)? {
            return Ok(false);
        }
        self.ring.peek(requests.as_mut_bytes());
        let count = u32::try_from(slots).unwrap_or(0);
        self.ring.take(count);
        self.known = self.known.saturating_sub(count);
        let (copies, responses) = (plan.planned(), self.ring.unwritten().len());
        Fill {
            requests: requests.iter(),
            ring: &mut self.ring,
            domain,
            flags: load.flags(),
            gso: load.gso,
            buffer: None,
            used: BUFFER,
        }
        .run(load.parts, layout.whole, plan);
        let responses = responses..self.ring.unwritten().len();
        plan.concern(
            copies,
            Concerned {
                sender: load.sender,
                receiver: Some((party, responses)),
            },
        );
        Ok(true)
    }

    /// Writes the responses. Says whether the guest wants to be told.
    pub(super) fn announce(&mut self) -> bool {
        self.ring.publish()
    }

    /// The data of a packet did not arrive: all the responses that announce it say so.
    pub(super) fn spoil(&mut self, packet: Range<usize>) {
        let responses = self.ring.unwritten().get_mut(packet).unwrap_or_default();
        let mut is_extra = false;
        for slot in responses {
            let mut response: RxResponse = transmute!(*slot);
            if !core::mem::take(&mut is_extra) {
                response.status = NetStatus::Error.number();
                *slot = transmute!(response);
                is_extra = response.flags & RxFlags::EXTRA_INFO.bits() != 0;
            }
        }
    }
}

/// A packet on its way into buffers.
struct Fill<'a> {
    requests: core::slice::Iter<'a, RxRequest>,
    ring: &'a mut Ring<SLOT_SIZE>,
    domain: DomId,
    /// Those of the next response.
    flags: RxFlags,
    /// What goes behind the first response.
    gso: Option<Gso>,
    /// The buffer being filled: its number for the guest, and where it lies.
    buffer: Option<(u16, CopyEnd)>,
    /// Bytes in it.
    used: u16,
}

impl Fill<'_> {
    fn run(mut self, parts: &[Part], whole: bool, plan: &mut Plan) {
        for part in parts {
            if whole && part.len > BUFFER - self.used {
                self.open();
            }
            self.put(part, plan);
        }
        // Requests that turned out not to be needed still get an answer.
        while self.open() {}
        self.close(RxFlags::empty());
    }

    fn put(&mut self, part: &Part, plan: &mut Plan) {
        let (mut source, mut left) = (part.source, part.len);
        while left > 0 {
            if self.used == BUFFER {
                self.open();
            }
            let Some((_, buffer)) = self.buffer else {
                return;
            };
            let len = left.min(BUFFER - self.used);
            if len == 0 {
                // There are no more buffers.
                return;
            }
            plan.copy(source, skip(buffer, self.used), len);
            self.used += len;
            source = skip(source, len);
            left -= len;
        }
    }

    /// Goes on to the next buffer, if there is one.
    fn open(&mut self) -> bool {
        let Some(request) = self.requests.next() else {
            return false;
        };
        if self.buffer.is_none() && self.gso.is_some() {
            // The slot behind the first has no use for its buffer.
            self.requests.next();
        }
        self.close(RxFlags::MORE_DATA);
        self.buffer = Some((request.id, granted(self.domain, request.gref, 0)));
        self.used = 0;
        true
    }

    /// Answers the buffer that was filled.
    fn close(&mut self, more: RxFlags) {
        let Some((id, _)) = self.buffer else { return };
        let flags = core::mem::replace(&mut self.flags, RxFlags::empty()) | more;
        self.ring.respond(transmute!(RxResponse {
            id,
            offset: 0,
            flags: flags.bits(),
            status: self.used.cast_signed(),
        }));
        if let Some(gso) = self.gso.take() {
            self.ring.respond(transmute!(segmentation(gso)));
        }
    }
}

fn segmentation(gso: Gso) -> ExtraInfo {
    ExtraInfo {
        kind: ExtraType::Gso.number(),
        gso_size: gso.size,
        gso_type: match gso.family {
            Family::V4 => GSO_TYPE_TCPV4,
            Family::V6 => GSO_TYPE_TCPV6,
        },
        ..ExtraInfo::default()
    }
}
