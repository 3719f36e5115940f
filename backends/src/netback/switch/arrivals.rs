//! Frames from a card on their way to guests.
//!
//! Segments of one flow that came in together are put together for guests that take such packets:
//! one packet a flow and batch is far cheaper for both sides than one for each frame. Each guest's
//! frames stay in order within a flow, and none waits for another batch.

use alloc::rc::Rc;
use alloc::vec::Vec;

use guest_abi::PAGE_SIZE;

use super::Target;
use super::uplink::{MAX_HELD, Uplink};
use crate::host::{MacAddress, Piece};
use crate::netback::deliver;
use crate::netback::offload::CHUNK;
use crate::netback::offload::coalesce::{Incoming, Train};
use crate::netback::packet::Gso;
use crate::netback::plan::frame_parts;
use crate::netback::rx::Load;
use crate::netback::rx::held::{Held, Token};
use crate::netback::scratch::Scratch;
use crate::netback::vif::Vif;

/// Flows put together at the same time.
const MAX_TRAINS: usize = 8;

/// The frames of one batch.
pub(super) struct Arrivals<'a> {
    uplink: &'a Uplink,
    pub(super) now: u64,
    way: Option<(MacAddress, MacAddress, Rc<Vif>)>,
    /// The oldest first.
    trains: Vec<(Rc<Vif>, Train)>,
    /// Headers put in place of those that came: fewer than frames.
    headers: usize,
    chunk: [u8; CHUNK],
}

/// A frame that came in, or several put together.
struct Arrival<'a> {
    /// What takes the place of its first bytes; nothing if they are as they came.
    header: &'a [u8],
    pieces: &'a [Piece],
    size: usize,
    /// Its checksums were found right.
    validated: bool,
    gso: Option<Gso>,
}

impl<'a> Arrival<'a> {
    fn plain(pieces: &'a [Piece]) -> Self {
        Self {
            header: &[],
            pieces,
            size: pieces.iter().map(|piece| piece.len).sum(),
            validated: false,
            gso: None,
        }
    }
}

impl<'a> Arrivals<'a> {
    /// A batch that came in at this time.
    pub(super) fn new(uplink: &'a Uplink, now: u64) -> Self {
        Self {
            uplink,
            now,
            way: None,
            trains: Vec::new(),
            headers: 0,
            chunk: [0; CHUNK],
        }
    }

    /// Where the last frame between these two went: most frames go where the one before went, and
    /// nothing changes within a batch.
    pub(super) fn known_way(&self, dest: MacAddress, source: MacAddress) -> Option<Rc<Vif>> {
        let way = self.way.as_ref();
        way.filter(|way| (way.0, way.1) == (dest, source))
            .map(|way| way.2.clone())
    }

    /// Where frames between these two go.
    pub(super) fn remember_way(&mut self, dest: MacAddress, source: MacAddress, to: &Rc<Vif>) {
        self.way = Some((dest, source, to.clone()));
    }

    /// A frame for one guest, which begins with `first`.
    pub(super) fn unicast(
        &mut self,
        to: &Rc<Vif>,
        first: &[u8],
        pieces: &[Piece],
        scratch: &mut Scratch,
    ) {
        let takes = to.abilities.segmentation.contains(&true);
        let segment = takes.then(|| Incoming::new(first, pieces, &mut self.chunk));
        let segment = segment.flatten();
        match segment.filter(|segment| to.abilities.segments(segment.family())) {
            Some(segment) => self.board(to, &segment, pieces, scratch),
            None => {
                // It may belong to the flow of a train.
                self.end(scratch);
                self.place(to, first, &Arrival::plain(pieces), true, scratch);
            }
        }
    }

    /// A frame for several.
    pub(super) fn flood(
        &mut self,
        targets: &[Target],
        first: &[u8],
        pieces: &[Piece],
        scratch: &mut Scratch,
    ) {
        self.end(scratch);
        for target in targets {
            if let Target::Vif(to) = target {
                self.place(to, first, &Arrival::plain(pieces), false, scratch);
            }
        }
    }

    /// Sends off all trains.
    pub(super) fn end(&mut self, scratch: &mut Scratch) {
        for (to, train) in core::mem::take(&mut self.trains) {
            self.depart(&to, train, scratch);
        }
    }

    fn board(
        &mut self,
        to: &Rc<Vif>,
        segment: &Incoming<'_>,
        pieces: &[Piece],
        scratch: &mut Scratch,
    ) {
        let mut trains = self.trains.iter_mut();
        if trains.any(|(vif, train)| Rc::ptr_eq(vif, to) && train.join(segment, pieces)) {
            return;
        }
        if self.trains.len() == MAX_TRAINS {
            let (to, train) = self.trains.remove(0);
            self.depart(&to, train, scratch);
        }
        self.trains.push((to.clone(), Train::new(segment, pieces)));
    }

    fn depart(&mut self, to: &Rc<Vif>, train: Train, scratch: &mut Scratch) {
        let coupled = train.couple();
        let arrival = Arrival {
            header: coupled.header(),
            pieces: &coupled.pieces,
            size: coupled.size,
            validated: true,
            gso: coupled.gso,
        };
        self.place(to, coupled.first(), &arrival, true, scratch);
    }

    fn place(
        &mut self,
        to: &Rc<Vif>,
        first: &[u8],
        arrival: &Arrival<'_>,
        may_wait: bool,
        scratch: &mut Scratch,
    ) {
        if arrival.size > PAGE_SIZE && !to.abilities.scattered {
            to.counters.received.drop();
            return;
        }
        let place = scratch.header_place(self.headers);
        if !arrival.header.is_empty() {
            scratch.put_header(self.headers, arrival.header);
            self.headers += 1;
        }
        let header = (place, u16::try_from(arrival.header.len()).unwrap_or(0));
        frame_parts(
            &mut scratch.parts,
            &mut scratch.plan,
            &*to.host,
            header,
            arrival.pieces,
        );
        let load = Load {
            parts: &scratch.parts,
            size: arrival.size,
            blank: arrival.gso.is_some(),
            validated: arrival.validated,
            gso: arrival.gso,
            sender: None,
        };
        let keep = || {
            let token = Token::new(&self.uplink.held, arrival.pieces.len(), MAX_HELD)?;
            Some(Held::Frame {
                header: arrival.header.to_vec(),
                pieces: arrival.pieces.to_vec(),
                validated: arrival.validated,
                gso: arrival.gso,
                token,
            })
        };
        let keep = may_wait.then_some(keep);
        deliver::place(to, first, &load, &mut scratch.plan, self.now, keep);
    }
}
