//! Puts TCP segments that came in over a wire together: what [`segment`](super::segment) cuts.
//!
//! ```text
//!  | headers: seq        | mss  | ─┐
//!  | headers: seq + mss  | mss  |  ├─▶ | headers: seq | mss | mss | rest |
//!  | headers: seq + 2mss | rest | ─┘
//! ```
//!
//! Segments are put together only if their checksums are right and if cutting the result would
//! give the very same ones again: so the receiver need not look at them any more, and may pass
//! them on. Nothing waits here for what may come later.

use alloc::vec::Vec;

use super::segment::{MAX_SEGMENTS, pseudo_header, seal_network, set16};
use super::{CHUNK, Cursor, checksum::Sum};
use crate::host::Piece;
use crate::netback::packet::{ETHERNET, Family, Gso, HEADER, Layout, TCP, be16, layout};

/// Bytes of a packet: what IP can say, its own header included.
const LONGEST: usize = 65_535;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// A segment that came in whole and sound.
#[derive(Debug)]
pub(in crate::netback) struct Incoming<'a> {
    headers: &'a [u8],
    layout: Layout,
    payload: usize,
}

impl<'a> Incoming<'a> {
    /// A frame that begins with `first` as a segment among others; `None` if it can't be one.
    pub(in crate::netback) fn new(
        first: &'a [u8],
        pieces: &[Piece],
        chunk: &mut [u8; CHUNK],
    ) -> Option<Self> {
        let layout = layout(first)?;
        let fixed = match layout.family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        let plain = layout.network == ETHERNET && layout.transport == ETHERNET + fixed;
        if !plain || layout.protocol != TCP || layout.fragment {
            return None;
        }
        let words = usize::from(first.get(layout.transport + 12)? >> 4);
        let headers = first.get(..layout.transport + words * 4)?;
        let flags = *headers.get(layout.transport + 13)?;
        let whole: usize = pieces.iter().map(|piece| piece.len).sum();
        let payload = whole.checked_sub(headers.len())?;
        let sound = words >= 5
            && payload > 0
            && flags & !(FIN | PSH) == ACK
            && layout.transport + layout.transport_len == whole
            && is_sound(headers, &layout, pieces, chunk)?;
        sound.then_some(Self {
            headers,
            layout,
            payload,
        })
    }

    /// What it is carried by.
    pub(in crate::netback) fn family(&self) -> Family {
        self.layout.family
    }

    fn ends_train(&self, size: usize) -> bool {
        let flags = self.headers.get(self.layout.transport + 13);
        self.payload < size || flags.is_none_or(|flags| flags & (FIN | PSH) != 0)
    }
}

/// Whether a packet's checksums are right.
fn is_sound(
    headers: &[u8],
    layout: &Layout,
    pieces: &[Piece],
    chunk: &mut [u8; CHUNK],
) -> Option<bool> {
    let mut sum = pseudo_header(headers, layout, layout.transport_len)?;
    let mut cursor = Cursor::new(pieces);
    cursor.skip(layout.transport);
    sum.join(cursor.sum(layout.transport_len, chunk));
    let mut network = Sum::default();
    network.add(headers.get(layout.network..layout.transport)?);
    let network_sound = layout.family == Family::V6 || network.finish() == [0; 2];
    Some(network_sound && sum.finish() == [0; 2])
}

/// Segments of a flow, one behind the other.
#[derive(Debug)]
pub(in crate::netback) struct Train {
    /// The first one's.
    headers: [u8; HEADER],
    header_len: usize,
    layout: Layout,
    /// The payload of each but the last, which may have less.
    size: usize,
    payload: usize,
    count: usize,
    /// There may be more.
    open: bool,
    /// The first frame, and the payload of the others.
    pieces: Vec<Piece>,
}

impl Train {
    /// One segment.
    pub(in crate::netback) fn new(first: &Incoming<'_>, pieces: &[Piece]) -> Self {
        let mut headers = [0; HEADER];
        if let Some(to) = headers.get_mut(..first.headers.len()) {
            to.copy_from_slice(first.headers);
        }
        Self {
            headers,
            header_len: first.headers.len(),
            layout: first.layout,
            size: first.payload,
            payload: first.payload,
            count: 1,
            open: !first.ends_train(first.payload),
            pieces: pieces.to_vec(),
        }
    }

    /// Adds the next segment, if this is it.
    pub(in crate::netback) fn join(&mut self, next: &Incoming<'_>, pieces: &[Piece]) -> bool {
        let whole = self.header_len + self.payload + next.payload;
        let fits = self.open
            && next.payload <= self.size
            && whole <= LONGEST
            && self.count < MAX_SEGMENTS
            && self.expects(next).unwrap_or(false);
        if !fits {
            return false;
        }
        let flags = self.layout.transport + 13;
        if let (Some(ours), Some(theirs)) = (self.headers.get_mut(flags), next.headers.get(flags)) {
            *ours |= theirs;
        }
        self.open = !next.ends_train(self.size);
        self.payload += next.payload;
        self.count += 1;
        let mut cursor = Cursor::new(pieces);
        cursor.skip(next.headers.len());
        cursor.take(next.payload, &mut self.pieces);
        true
    }

    /// Whether the next segment has the headers that cutting would give it.
    fn expects(&self, next: &Incoming<'_>) -> Option<bool> {
        let Layout {
            network, transport, ..
        } = self.layout;
        let mut expected = self.headers;
        match self.layout.family {
            Family::V4 => {
                adopt(&mut expected, next.headers, network + 2, 2)?;
                adopt(&mut expected, next.headers, network + 10, 2)?;
                let id = be16(&self.headers, network + 4)?;
                let id = id.wrapping_add(u16::try_from(self.count).ok()?);
                set16(&mut expected, network + 4, id)?;
            }
            Family::V6 => adopt(&mut expected, next.headers, network + 4, 2)?,
        }
        // Flags that must not differ have kept it from being an `Incoming`.
        adopt(&mut expected, next.headers, transport + 13, 1)?;
        adopt(&mut expected, next.headers, transport + 16, 2)?;
        let seq = self.headers.get(transport + 4..)?.first_chunk::<4>()?;
        let seq = u32::from_be_bytes(*seq).wrapping_add(u32::try_from(self.payload).ok()?);
        let place = expected.get_mut(transport + 4..)?.first_chunk_mut::<4>()?;
        *place = seq.to_be_bytes();
        Some(expected.get(..self.header_len)? == next.headers)
    }

    /// Makes one packet of it. Its checksum is left to whoever cuts it again; a train of one is as
    /// it came.
    pub(in crate::netback) fn couple(mut self) -> Coupled {
        let gso = self.merge_headers();
        Coupled {
            headers: self.headers,
            first_len: self.header_len,
            size: self.header_len + self.payload,
            gso,
            pieces: self.pieces,
        }
    }

    fn merge_headers(&mut self) -> Option<Gso> {
        if self.count == 1 {
            return None;
        }
        let Layout {
            network, transport, ..
        } = self.layout;
        let headers = self.headers.get_mut(..self.header_len)?;
        let len = self.header_len + self.payload - network;
        match self.layout.family {
            Family::V4 => {
                set16(headers, network + 2, u16::try_from(len).ok()?)?;
                seal_network(headers.get_mut(network..transport)?)?;
            }
            Family::V6 => set16(headers, network + 4, u16::try_from(len - 40).ok()?)?,
        }
        let sum = pseudo_header(headers, &self.layout, network + len - transport)?;
        let partial = sum.finish().map(|byte| !byte);
        *headers.get_mut(transport + 16..)?.first_chunk_mut()? = partial;
        Some(Gso {
            family: self.layout.family,
            size: u16::try_from(self.size).ok()?,
        })
    }
}

/// Takes over `len` bytes: lengths and checksums that are known to be right.
fn adopt(headers: &mut [u8], from: &[u8], at: usize, len: usize) -> Option<()> {
    let to = headers.get_mut(at..at + len)?;
    to.copy_from_slice(from.get(at..at + len)?);
    Some(())
}

/// A train as one packet.
#[derive(Debug)]
pub(in crate::netback) struct Coupled {
    headers: [u8; HEADER],
    first_len: usize,
    /// Bytes of it all.
    pub(in crate::netback) size: usize,
    /// How it is to be cut, if it was put together.
    pub(in crate::netback) gso: Option<Gso>,
    /// The frames' pieces. The packet's first bytes are [`header`](Self::header) rather.
    pub(in crate::netback) pieces: Vec<Piece>,
}

impl Coupled {
    /// The headers, whether they are as they came or not.
    pub(in crate::netback) fn first(&self) -> &[u8] {
        self.headers.get(..self.first_len).unwrap_or_default()
    }

    /// What takes the place of the packet's first bytes; nothing if it is as it came.
    pub(in crate::netback) fn header(&self) -> &[u8] {
        if self.gso.is_some() {
            self.first()
        } else {
            &[]
        }
    }
}

#[cfg(test)]
#[path = "coalesce_tests.rs"]
mod tests;
