//! Does in software what the sender left to whoever takes its packet.
//!
//! A frontend that takes checksums still to be computed and packets still to be cut gets them as
//! they are. For the others, and for the wire, packets are gathered in memory of ours, cut, and
//! completed there.

pub(super) mod acknowledge;
pub(super) mod checksum;
pub(super) mod coalesce;
pub(super) mod segment;

use alloc::rc::Rc;
use alloc::vec::Vec;

use guest_abi::PAGE_SIZE;
use guest_abi::io::netif::NR_SLOTS_MIN;

use super::deliver;
use super::frames::Frames;
use super::packet::{self, Family, HEADER, IPV4, IPV6, Layout, ethertype};
use super::plan::{Concerned, Part, Plan, frame_parts};
use super::rx::Load;
use super::rx::held::{Held, Token};
use super::scratch::{Fate, Scratch};
use super::switch::Target;
use super::tx::validate::Request;
use super::vif::{QueueRef, Vif};
use crate::host::copy::skip;
use crate::host::{IoMemory, Piece};
use checksum::Sum;
use segment::{Segments, seal};

/// Bytes summed up at once.
pub(super) const CHUNK: usize = 2048;
/// Frames of one guest that may wait for receivers.
const MAX_FRAMES_HELD: usize = 64;

/// What a receiver takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Packets of several pages.
    pub(super) scattered: bool,
    /// Checksums still to be computed, over IPv4 and IPv6.
    pub(super) checksum: [bool; 2],
    /// Packets still to be cut, over IPv4 and IPv6.
    pub(super) segmentation: [bool; 2],
}

impl Abilities {
    /// Whether a packet can be taken as it is.
    pub(super) fn take(&self, request: &Request, header: &[u8]) -> bool {
        if !self.scattered && usize::from(request.size) > PAGE_SIZE {
            return false;
        }
        if let Some(gso) = request.gso {
            return self.segments(gso.family);
        }
        !request.blank
            || match ethertype(header) {
                Some((IPV4, _)) => of_family(self.checksum, Family::V4),
                Some((IPV6, _)) => of_family(self.checksum, Family::V6),
                _ => false,
            }
    }

    /// Whether packets still to be cut can be taken.
    pub(super) fn segments(&self, family: Family) -> bool {
        of_family(self.segmentation, family)
    }
}

fn of_family(abilities: [bool; 2], family: Family) -> bool {
    match family {
        Family::V4 => abilities[0],
        Family::V6 => abilities[1],
    }
}

/// A packet on its way into our memory, and on to those who need it finished.
pub(super) struct Gathered {
    /// Which packet of the batch it is.
    pub(super) packet: usize,
    pub(super) request: Request,
    pub(super) header: [u8; HEADER],
    pub(super) header_len: usize,
    pub(super) pieces: Vec<Piece>,
    pub(super) targets: Vec<Target>,
}

/// Plans a packet's way into our memory: its first bytes are put there at once.
pub(super) fn gather(
    vif: &Vif,
    header: &[u8],
    size: usize,
    sender: usize,
    parts: &[Part],
    plan: &mut Plan,
) -> Option<Vec<Piece>> {
    let spread = size > PAGE_SIZE;
    let mut pool = vif.pool.borrow_mut();
    let block = if spread {
        pool.packet(&*vif.host)?
    } else {
        pool.page(&*vif.host)?
    };
    block.copy_to(0, header);
    let planned = plan.planned();
    let mut place = plan.own(&*vif.host, &block, 0);
    let mut pieces = Vec::with_capacity(if spread { NR_SLOTS_MIN } else { 1 });
    let (mut start, mut len) = (0, header.len());
    for part in parts.iter().skip(1) {
        if spread && part.fresh {
            pieces.push(piece(&block, start, len));
            (start, len) = (start + PAGE_SIZE, 0);
            place = plan.own(&*vif.host, &block, start);
        }
        let end = len + usize::from(part.len);
        if end > PAGE_SIZE || start >= block.len() {
            return None;
        }
        let at = u16::try_from(len).unwrap_or(0);
        plan.copy(part.source, skip(place, at), part.len);
        len = end;
    }
    let sender = Some(sender);
    let receiver = None;
    plan.concern(planned, Concerned { sender, receiver });
    pieces.push(piece(&block, start, len));
    Some(pieces)
}

fn piece(memory: &Rc<dyn IoMemory>, offset: usize, len: usize) -> Piece {
    Piece {
        memory: memory.clone(),
        offset,
        len,
    }
}

/// Finishes what was gathered, and passes it on.
pub(super) fn deliver(queue: &QueueRef, scratch: &mut Scratch, now: u64) {
    if scratch.gathered.is_empty() {
        return;
    }
    let vif = &queue.vif;
    let mut uplinks = Vec::new();
    let mut all = core::mem::take(&mut scratch.gathered);
    let mut frames = core::mem::take(&mut scratch.frames);
    for gathered in all.drain(..) {
        frames.clear();
        if finish(vif, &gathered, &mut frames).is_none() {
            continue;
        }
        let mut sent = false;
        for target in &gathered.targets {
            sent |= match target {
                Target::Uplink(uplink) => {
                    if !uplinks.iter().any(|known| Rc::ptr_eq(known, uplink)) {
                        uplinks.push(uplink.clone());
                    }
                    uplink.transmit(&frames)
                }
                Target::Vif(to) => send_frames(vif, to, &gathered, &frames, scratch, now),
            };
        }
        if let Some(packet) = scratch.packets.get_mut(gathered.packet)
            && sent
        {
            packet.fate = Fate::Sent;
        }
    }
    frames.clear();
    (scratch.gathered, scratch.frames) = (all, frames);
    scratch.plan.run(&*vif.host);
    uplinks.iter().for_each(|uplink| uplink.kick());
}

fn send_frames(
    vif: &Vif,
    to: &Rc<Vif>,
    gathered: &Gathered,
    frames: &Frames,
    scratch: &mut Scratch,
    now: u64,
) -> bool {
    let header = gathered
        .header
        .get(..gathered.header_len)
        .unwrap_or_default();
    let mut sent = false;
    for frame in frames.iter() {
        let size = frame.iter().map(|piece| piece.len).sum();
        if size > PAGE_SIZE && !to.abilities.scattered {
            to.counters.received.drop();
            continue;
        }
        let none = (scratch.header_place(0), 0);
        let (parts, plan) = (&mut scratch.parts, &mut scratch.plan);
        frame_parts(parts, plan, &*vif.host, none, frame);
        let load = Load {
            parts: &scratch.parts,
            size,
            blank: false,
            validated: gathered.request.validated,
            gso: None,
            sender: None,
        };
        let keep = || {
            Token::new(&vif.frames_held, 1, MAX_FRAMES_HELD).map(|token| Held::Frame {
                header: Vec::new(),
                pieces: frame.to_vec(),
                validated: gathered.request.validated,
                gso: None,
                token,
            })
        };
        let fate = deliver::place(to, header, &load, &mut scratch.plan, now, Some(keep));
        sent |= fate != Fate::Dropped;
    }
    sent
}

/// Makes of a packet what can go over a wire; `None` if it is not what it says.
fn finish(vif: &Vif, gathered: &Gathered, frames: &mut Frames) -> Option<()> {
    let header = gathered.header.get(..gathered.header_len)?;
    let request = &gathered.request;
    if request.blank {
        let layout = packet::layout(header)?;
        let size = usize::from(request.size);
        if let Some(gso) = request.gso {
            let segments = Segments::new(header, layout, gso, size)?;
            return cut(vif, &segments, &gathered.pieces, frames);
        }
        complete(gathered, &layout)?;
    }
    frames.add(|pieces| {
        pieces.extend_from_slice(&gathered.pieces);
        true
    });
    Some(())
}

/// Computes the checksum that the sender left out.
fn complete(gathered: &Gathered, layout: &Layout) -> Option<()> {
    let mut header = gathered.header;
    let front = header.get_mut(..gathered.header_len)?;
    let end = layout.transport + layout.transport_len;
    if end > usize::from(gathered.request.size) {
        return None;
    }
    let mut cursor = Cursor::new(&gathered.pieces);
    cursor.skip(front.len());
    let sum = cursor.sum(end.saturating_sub(front.len()), &mut [0; CHUNK]);
    seal(front, layout, layout.transport_len, sum)?;
    gathered.pieces.first()?.memory.copy_to(0, front);
    Some(())
}

fn cut(vif: &Vif, segments: &Segments<'_>, packet: &[Piece], frames: &mut Frames) -> Option<()> {
    /// Headers begin at multiples of this.
    const ALIGN: usize = 64;
    let mut pool = vif.pool.borrow_mut();
    let mut cursor = Cursor::new(packet);
    cursor.skip(segments.header_len());
    let mut page = pool.page(&*vif.host)?;
    let mut used = 0;
    let (mut bytes, mut chunk) = ([0; HEADER], [0; CHUNK]);
    for index in 0..segments.count() {
        if used + segments.header_len() > PAGE_SIZE {
            (page, used) = (pool.page(&*vif.host)?, 0);
        }
        let (_, payload) = segments.range(index);
        let mut sum = Sum::default();
        frames.add(|pieces| {
            pieces.push(piece(&page, used, segments.header_len()));
            sum = cursor.take_summed(payload, pieces, &mut chunk);
            true
        });
        page.copy_to(used, segments.write(index, sum, &mut bytes)?);
        used += segments.header_len().next_multiple_of(ALIGN);
    }
    Some(())
}

/// A place within a packet in our memory.
#[derive(Clone)]
struct Cursor<'a> {
    pieces: core::slice::Iter<'a, Piece>,
    piece: Option<&'a Piece>,
    /// Bytes of the piece that are behind us.
    done: usize,
}

impl<'a> Cursor<'a> {
    fn new(pieces: &'a [Piece]) -> Self {
        let mut pieces = pieces.iter();
        Self {
            piece: pieces.next(),
            pieces,
            done: 0,
        }
    }

    /// Calls `each` with the pieces of the next `len` bytes: which, from where, and how much.
    fn walk(&mut self, mut len: usize, mut each: impl FnMut(&Piece, usize, usize)) {
        while len > 0 {
            let Some(piece) = self.piece else { return };
            let part = len.min(piece.len - self.done);
            if part > 0 {
                each(piece, self.done, part);
            }
            self.done += part;
            len -= part;
            if self.done == piece.len {
                (self.piece, self.done) = (self.pieces.next(), 0);
            }
        }
    }

    fn skip(&mut self, len: usize) {
        self.walk(len, |_, _, _| {});
    }

    fn take(&mut self, len: usize, into: &mut Vec<Piece>) {
        self.walk(len, |piece, at, len| into.push(piece.part(at, len)));
    }

    /// The sum of the next `len` bytes, read piecemeal into `chunk`.
    fn sum(&mut self, len: usize, chunk: &mut [u8; CHUNK]) -> Sum {
        let mut sum = Sum::default();
        self.walk(len, |piece, at, len| add(&mut sum, piece, at, len, chunk));
        sum
    }

    /// Both in one.
    fn take_summed(&mut self, len: usize, into: &mut Vec<Piece>, chunk: &mut [u8; CHUNK]) -> Sum {
        let mut sum = Sum::default();
        self.walk(len, |piece, at, len| {
            into.push(piece.part(at, len));
            add(&mut sum, piece, at, len, chunk);
        });
        sum
    }
}

/// Adds bytes of a piece, read piecemeal into `chunk`.
fn add(sum: &mut Sum, piece: &Piece, mut at: usize, mut len: usize, chunk: &mut [u8; CHUNK]) {
    while len > 0 {
        let part = len.min(CHUNK);
        let bytes = chunk.get_mut(..part).unwrap_or_default();
        piece.read(at, bytes);
        sum.add(bytes);
        at += part;
        len -= part;
    }
}
