//! Cuts a TCP packet into segments that fit a wire, and completes checksums.
//!
//! ```text
//!  | headers |        payload         |
//!      │     |  mss  |  mss  |  rest  |
//!      ├────▶ headers 0: seq,       id,     no FIN, no PSH
//!      ├────▶ headers 1: seq + mss, id + 1, no FIN, no PSH, no CWR
//!      └────▶ headers 2: seq + 2mss, id + 2,                no CWR
//! ```

use super::checksum::Sum;
use crate::netback::packet::{Family, Gso, HEADER, Layout, TCP, UDP};

/// More segments than this nobody makes of a packet: 64 KiB at the smallest path of the Internet.
pub(super) const MAX_SEGMENTS: usize = 128;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// A TCP packet that can be cut.
#[derive(Debug)]
pub(in crate::netback) struct Segments<'a> {
    headers: &'a [u8],
    layout: Layout,
    size: usize,
    payload: usize,
}

impl<'a> Segments<'a> {
    /// A packet of `total` bytes that begins with `header`; `None` if it is not what `gso` says.
    pub(in crate::netback) fn new(
        header: &'a [u8],
        layout: Layout,
        gso: Gso,
        total: usize,
    ) -> Option<Self> {
        let fits = layout.protocol == TCP && layout.family == gso.family && !layout.fragment;
        let words = usize::from(header.get(layout.transport + 12)? >> 4);
        let end = layout.transport + words * 4;
        let payload = total.checked_sub(end)?;
        let segments = Self {
            headers: header.get(..end)?,
            layout,
            size: usize::from(gso.size),
            payload,
        };
        (fits && words >= 5 && segments.count() <= MAX_SEGMENTS).then_some(segments)
    }

    /// How many bytes of the packet come before its payload.
    pub(in crate::netback) fn header_len(&self) -> usize {
        self.headers.len()
    }

    /// How many pieces there are.
    pub(in crate::netback) fn count(&self) -> usize {
        self.payload.div_ceil(self.size).max(1)
    }

    /// Writes the headers of a piece, whose payload sums up to `sum`, to the front of `bytes`.
    pub(in crate::netback) fn write<'b>(
        &self,
        index: usize,
        sum: Sum,
        bytes: &'b mut [u8; HEADER],
    ) -> Option<&'b [u8]> {
        let (start, payload) = self.range(index);
        let headers = bytes.get_mut(..self.headers.len())?;
        headers.copy_from_slice(self.headers);
        self.patch(headers, index, start, payload)?;
        let transport_len = self.headers.len() - self.layout.transport + payload;
        seal(headers, &self.layout, transport_len, sum)?;
        Some(headers)
    }

    /// Which part of the payload a piece carries: where it begins, and how long it is.
    pub(in crate::netback) fn range(&self, index: usize) -> (usize, usize) {
        let start = (index * self.size).min(self.payload);
        (start, self.size.min(self.payload - start))
    }

    /// Makes the headers those of one piece, but for the checksums.
    fn patch(&self, headers: &mut [u8], index: usize, start: usize, payload: usize) -> Option<()> {
        let Layout {
            network, transport, ..
        } = self.layout;
        let len = self.headers.len() + payload - network;
        match self.layout.family {
            Family::V4 => {
                set16(headers, network + 2, u16::try_from(len).ok()?)?;
                let id = u16::from_be_bytes(*headers.get(network + 4..)?.first_chunk()?);
                set16(
                    headers,
                    network + 4,
                    id.wrapping_add(u16::try_from(index).ok()?),
                )?;
            }
            Family::V6 => set16(headers, network + 4, u16::try_from(len - 40).ok()?)?,
        }
        let seq = headers.get_mut(transport + 4..)?.first_chunk_mut::<4>()?;
        let moved = u32::from_be_bytes(*seq).wrapping_add(u32::try_from(start).ok()?);
        *seq = moved.to_be_bytes();
        let flags = headers.get_mut(transport + 13)?;
        if index > 0 {
            *flags &= !CWR;
        }
        if index + 1 < self.count() {
            *flags &= !(FIN | PSH);
        }
        Some(())
    }
}

pub(super) fn set16(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut::<2>()? = value.to_be_bytes();
    Some(())
}

/// Completes the checksums of a packet: those of IPv4 and of TCP or UDP. `front` is its first
/// bytes; what the transport carries beyond them, up to its `transport_len`, sums up to `rest`.
/// `None` if there is nothing that could be completed.
pub(in crate::netback) fn seal(
    front: &mut [u8],
    layout: &Layout,
    transport_len: usize,
    rest: Sum,
) -> Option<()> {
    let field = layout.transport
        + match layout.protocol {
            TCP => 16,
            UDP => 6,
            _ => return None,
        };
    if layout.fragment || field + 2 > layout.transport + transport_len {
        return None;
    }
    set16(front, field, 0)?;
    let mut sum = pseudo_header(front, layout, transport_len)?;
    let end = front.len().min(layout.transport + transport_len);
    let mut transport = Sum::default();
    transport.add(front.get(layout.transport..end)?);
    transport.join(rest);
    sum.join(transport);
    let mut checksum = sum.finish();
    if layout.protocol == UDP && checksum == [0; 2] {
        // Zero would mean that there is none.
        checksum = [0xff; 2];
    }
    *front.get_mut(field..)?.first_chunk_mut()? = checksum;
    if layout.family == Family::V4 {
        seal_network(front.get_mut(layout.network..layout.transport)?)?;
    }
    Some(())
}

/// The sum over what TCP and UDP count of the IP header.
pub(super) fn pseudo_header(front: &[u8], layout: &Layout, transport_len: usize) -> Option<Sum> {
    let addresses = match layout.family {
        Family::V4 => layout.network + 12..layout.network + 20,
        Family::V6 => layout.network + 8..layout.network + 40,
    };
    let mut sum = Sum::default();
    sum.add(front.get(addresses)?);
    sum.add_u32(layout.protocol.into());
    sum.add_u32(u32::try_from(transport_len).ok()?);
    Some(sum)
}

/// Completes the checksum of an IPv4 header.
pub(super) fn seal_network(header: &mut [u8]) -> Option<()> {
    set16(header, 10, 0)?;
    let mut sum = Sum::default();
    sum.add(header);
    *header.get_mut(10..)?.first_chunk_mut()? = sum.finish();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::super::packet::{IPV4, IPV6, layout};
    use super::*;
    use crate::netback::testing::{frame, ipv4, ipv6};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn tcp(seq: u32, flags: u8, options: usize, payload: &[u8]) -> Vec<u8> {
        let mut tcp = alloc::vec![0x12, 0x34, 0, 80];
        tcp.extend(seq.to_be_bytes());
        tcp.extend([0, 0, 0, 1]);
        tcp.push(u8::try_from(5 + options).unwrap() << 4);
        tcp.extend([flags, 1, 0, 0xde, 0xad, 0, 0]);
        tcp.extend(alloc::vec![1; options * 4]);
        tcp.extend(payload);
        tcp
    }

    fn packet(family: Family, tcp: &[u8]) -> Vec<u8> {
        match family {
            Family::V4 => frame(
                [1; 6],
                [2; 6],
                IPV4,
                &ipv4([10, 0, 0, 1], [10, 0, 0, 2], 6, tcp),
            ),
            Family::V6 => frame([1; 6], [2; 6], IPV6, &ipv6([7; 16], [9; 16], 6, tcp)),
        }
    }

    /// A whole packet's transport checksum, verified: all of it sums up to nothing.
    fn verify(bytes: &[u8]) {
        let layout = layout(bytes).unwrap();
        assert_eq!(layout.transport + layout.transport_len, bytes.len());
        let mut sum = pseudo_header(bytes, &layout, layout.transport_len).unwrap();
        sum.add(&bytes[layout.transport..]);
        assert_eq!(sum.finish(), [0; 2]);
        if layout.family == Family::V4 {
            let mut sum = Sum::default();
            sum.add(&bytes[layout.network..layout.transport]);
            assert_eq!(sum.finish(), [0; 2]);
        }
    }

    fn cut(whole: &[u8], gso: Gso) -> Vec<Vec<u8>> {
        let header = &whole[..whole.len().min(HEADER)];
        let segments = Segments::new(header, layout(whole).unwrap(), gso, whole.len()).unwrap();
        let payload = &whole[segments.header_len()..];
        let one = |index| {
            let (start, len) = segments.range(index);
            let part = &payload[start..start + len];
            let mut sum = Sum::default();
            sum.add(part);
            let mut bytes = [0; HEADER];
            [segments.write(index, sum, &mut bytes).unwrap(), part].concat()
        };
        (0..segments.count()).map(one).collect()
    }

    proptest! {
        #[test]
        fn segments_put_together_again_are_the_packet(
            v6: bool, seq: u32, flags: u8, options in 0_usize..=10,
            mss in 536_u16..9000, payload in proptest::collection::vec(any::<u8>(), 0..20_000),
        ) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let whole = packet(family, &tcp(seq, flags, options, &payload));
            let pieces = cut(&whole, Gso { family, size: mss });
            let mut again = Vec::new();
            let last = pieces.len() - 1;
            for (index, piece) in pieces.iter().enumerate() {
                verify(piece);
                let found = layout(piece).unwrap();
                let tcp = &piece[found.transport..];
                let at = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
                prop_assert_eq!(at, seq.wrapping_add(u32::try_from(again.len()).unwrap()));
                let dropped = if index < last { FIN | PSH } else { 0 } | if index > 0 { CWR } else { 0 };
                prop_assert_eq!(tcp[13], flags & !dropped);
                if !v6 {
                    let id = u16::from_be_bytes([piece[18], piece[19]]);
                    prop_assert_eq!(id, 0x1234 + u16::try_from(index).unwrap());
                }
                let body = &tcp[20 + options * 4..];
                prop_assert!(body.len() <= usize::from(mss));
                prop_assert!(index == last || body.len() == usize::from(mss));
                again.extend_from_slice(body);
            }
            prop_assert_eq!(again, payload);
        }
    }

    #[test]
    fn what_is_not_what_it_says_is_not_cut() {
        let whole = packet(Family::V4, &tcp(1, 0, 0, &[0; 3000]));
        let found = layout(&whole).unwrap();
        let attempt = |family, size, header: &[u8]| {
            Segments::new(header, found, Gso { family, size }, whole.len()).is_some()
        };
        assert!(attempt(Family::V4, 1448, &whole[..HEADER]));
        assert!(
            !attempt(Family::V6, 1448, &whole[..HEADER]),
            "another family"
        );
        assert!(
            !attempt(Family::V4, 1448, &whole[..50]),
            "headers cut short"
        );
        assert!(
            !attempt(Family::V4, 1, &whole[..HEADER]),
            "a piece for every byte"
        );
        let mut short = whole.clone();
        short[found.transport + 12] = 0x40;
        assert!(
            !attempt(Family::V4, 1448, &short[..HEADER]),
            "a header shorter than TCP's"
        );
        let udp = Layout {
            protocol: UDP,
            ..found
        };
        let gso = Gso {
            family: Family::V4,
            size: 1448,
        };
        assert!(Segments::new(&whole[..HEADER], udp, gso, whole.len()).is_none());
    }

    #[test]
    fn a_blank_udp_checksum_is_completed_and_never_zero() {
        let mut hit_zero = false;
        for filler in 0..=u16::MAX {
            let mut udp = alloc::vec![0, 1, 0, 2, 0, 10, 0xbe, 0xef];
            udp.extend(filler.to_be_bytes());
            let mut whole = frame([1; 6], [2; 6], IPV4, &ipv4([1; 4], [2; 4], UDP, &udp));
            let found = layout(&whole).unwrap();
            seal(&mut whole, &found, found.transport_len, Sum::default()).unwrap();
            assert_ne!(whole[40..42], [0, 0]);
            hit_zero |= whole[40..42] == [0xff, 0xff];
        }
        assert!(hit_zero);
    }

    #[test]
    fn fragments_and_strangers_can_t_be_completed() {
        let mut whole = frame([1; 6], [2; 6], IPV4, &ipv4([1; 4], [2; 4], UDP, &[0; 20]));
        let found = layout(&whole).unwrap();
        let fragment = Layout {
            fragment: true,
            ..found
        };
        assert!(seal(&mut whole, &fragment, 20, Sum::default()).is_none());
        let icmp = Layout {
            protocol: 1,
            ..found
        };
        assert!(seal(&mut whole, &icmp, 20, Sum::default()).is_none());
        assert!(
            seal(&mut whole, &found, 5, Sum::default()).is_none(),
            "shorter than its header"
        );
    }
}
