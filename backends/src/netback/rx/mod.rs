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
use alloc::vec::Vec;

use guest_abi::io::netif::{
    ExtraType, GSO_TYPE_TCPV4, GSO_TYPE_TCPV6, NetStatus, RxFlags, RxRequest, RxResponse,
};
use guest_abi::io::ring::Overrun;
use guest_abi::zerocopy::FromBytes;
use guest_abi::{DomId, PAGE_SIZE};

use super::packet::{Family, Gso};
use super::plan::{Announced, End, Op, Part};
use super::ring::{Ring, word};
use held::Waiting;

/// Bytes of a slot on the ring.
pub(super) const SLOT_SIZE: usize = size_of::<RxRequest>();
/// Buffers that any frontend takes for one packet.
const MAX_BUFFERS: usize = 17;
/// Slots a packet can take at most: its buffers and one for its segmentation.
pub(super) const MAX_SLOTS: usize = MAX_BUFFERS + 1;

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

impl Load<'_> {
    /// Whether parts are to stay whole, and how many buffers it takes.
    fn layout(&self) -> (bool, usize) {
        let packed = self.size.div_ceil(PAGE_SIZE).max(1);
        let (mut buffers, mut used) = (0, PAGE_SIZE);
        for part in self.parts {
            if used + part.len > PAGE_SIZE {
                (buffers, used) = (buffers + 1, 0);
            }
            used += part.len;
        }
        let most = (packed + packed / 8).min(MAX_BUFFERS);
        if packed <= buffers && buffers <= most {
            (true, buffers)
        } else {
            (false, packed)
        }
    }

    /// How many slots it takes.
    pub(super) fn slots(&self) -> usize {
        self.layout().1 + usize::from(self.gso.is_some())
    }

    fn flags(&self) -> RxFlags {
        let mut flags = RxFlags::empty();
        flags.set(RxFlags::CSUM_BLANK, self.blank);
        flags.set(RxFlags::DATA_VALIDATED, self.blank || self.validated);
        flags.set(RxFlags::EXTRA_INFO, self.gso.is_some());
        flags
    }
}

/// A response not yet written.
#[derive(Clone, Copy, Debug)]
enum Response {
    Data { id: u16, flags: RxFlags, len: usize },
    Gso(Gso),
    Failed { id: u16, flags: RxFlags },
}

impl Response {
    fn words(self) -> [u32; 2] {
        match self {
            Self::Data { id, flags, len } => {
                let len = u16::try_from(len).unwrap_or(0);
                [word(id, 0), word(flags.bits(), len)]
            }
            Self::Failed { id, flags } => {
                let status = NetStatus::Error.number().cast_unsigned();
                [word(id, 0), word(flags.bits(), status)]
            }
            Self::Gso(gso) => {
                let kind = match gso.family {
                    Family::V4 => GSO_TYPE_TCPV4,
                    Family::V6 => GSO_TYPE_TCPV6,
                };
                let extra = u16::from(ExtraType::Gso.number());
                [word(extra, gso.size), word(u16::from(kind), 0)]
            }
        }
    }
}

const _: () = assert!(size_of::<RxResponse>() == SLOT_SIZE);

/// A queue towards the guest.
pub(super) struct RxQueue {
    ring: Ring,
    /// Requests seen to wait and not yet taken.
    known: u32,
    responses: Vec<Response>,
    held: VecDeque<Waiting>,
    /// The guest has not posted buffers for long: nothing is kept for it.
    stalled: bool,
}

impl RxQueue {
    pub(super) fn new(ring: Ring) -> Self {
        Self {
            ring,
            known: 0,
            responses: Vec::new(),
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
        ops: &mut Vec<Op>,
    ) -> Result<bool, Overrun> {
        let slots = load.slots();
        let mut raw = [[0; SLOT_SIZE]; MAX_SLOTS];
        let Some(raw) = raw.get_mut(..slots) else {
            return Ok(false);
        };
        if !self.has(slots)? {
            return Ok(false);
        }
        self.ring.peek(raw.as_flattened_mut());
        let count = u32::try_from(slots).unwrap_or(0);
        self.ring.take(count);
        self.known = self.known.saturating_sub(count);
        let mut fill = Fill {
            load,
            domain,
            party,
            requests: raw.iter(),
            responses: &mut self.responses,
            ops,
            buffer: None,
            first: true,
        };
        fill.run();
        // Requests that turned out not to be needed still get an answer.
        while fill.open().is_some() {}
        Ok(true)
    }

    /// Writes the responses. Says whether the guest wants to be told.
    pub(super) fn announce(&mut self) -> bool {
        for response in self.responses.drain(..) {
            self.ring.respond(&response.words());
        }
        self.ring.publish()
    }

    /// The data of a response did not arrive.
    pub(super) fn spoil(&mut self, response: usize) {
        if let Some(response) = self.responses.get_mut(response)
            && let Response::Data { id, flags, .. } = *response
        {
            *response = Response::Failed { id, flags };
        }
    }
}

/// A buffer being filled.
struct Buffer {
    end: End,
    used: usize,
    response: usize,
}

/// A packet on its way into buffers.
struct Fill<'a, 'b> {
    load: &'a Load<'a>,
    domain: DomId,
    party: usize,
    requests: core::slice::Iter<'a, [u8; SLOT_SIZE]>,
    responses: &'b mut Vec<Response>,
    ops: &'b mut Vec<Op>,
    buffer: Option<Buffer>,
    first: bool,
}

impl Fill<'_, '_> {
    fn run(&mut self) {
        let (whole, _) = self.load.layout();
        for part in self.load.parts {
            let used = self.buffer.as_ref().map_or(0, |buffer| buffer.used);
            if whole && used + part.len > PAGE_SIZE {
                self.next();
            }
            self.fill(part);
        }
    }

    fn fill(&mut self, part: &Part) {
        let (mut source, mut left) = (part.source, part.len);
        while left > 0 {
            if self
                .buffer
                .as_ref()
                .is_none_or(|buffer| buffer.used == PAGE_SIZE)
            {
                self.next();
            }
            let Some(buffer) = &mut self.buffer else {
                return;
            };
            let len = left.min(PAGE_SIZE - buffer.used);
            self.ops.push(Op {
                source,
                dest: buffer.end.skip(buffer.used),
                len,
                sender: self.load.sender,
                announced: Some(Announced {
                    party: self.party,
                    response: buffer.response,
                }),
            });
            buffer.used += len;
            if let Some(Response::Data { len, .. }) = self.responses.get_mut(buffer.response) {
                *len = buffer.used;
            }
            source = source.skip(len);
            left -= len;
        }
    }

    /// Goes on to the next buffer.
    fn next(&mut self) {
        self.buffer = self.open();
    }

    fn open(&mut self) -> Option<Buffer> {
        let request = RxRequest::read_from_bytes(self.requests.next()?).ok()?;
        if let Some(before) = &self.buffer
            && let Some(Response::Data { flags, .. }) = self.responses.get_mut(before.response)
        {
            flags.insert(RxFlags::MORE_DATA);
        }
        let first = core::mem::replace(&mut self.first, false);
        let response = self.responses.len();
        self.responses.push(Response::Data {
            id: request.id,
            flags: if first {
                self.load.flags()
            } else {
                RxFlags::empty()
            },
            len: 0,
        });
        if first && let Some(gso) = self.load.gso {
            self.requests.next();
            self.responses.push(Response::Gso(gso));
        }
        Some(Buffer {
            end: End::Grant {
                domain: self.domain,
                reference: request.gref,
                offset: 0,
            },
            used: 0,
            response,
        })
    }
}
