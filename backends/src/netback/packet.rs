//! What a packet's first bytes say.
//!
//! Everything is read from a private copy, and every byte may be anything: what can't be
//! understood has no [`Layout`].

use crate::host::MacAddress;

/// Bytes at the front of a packet that are looked at: all headers that can be segmented fit.
pub(super) const HEADER: usize = 192;
/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;

/// Ethernet type: IPv4.
pub(super) const IPV4: u16 = 0x0800;
/// Ethernet type: ARP.
pub(super) const ARP: u16 = 0x0806;
/// Ethernet type: IPv6.
pub(super) const IPV6: u16 = 0x86dd;
/// Ethernet types: one more tag before the type.
const VLAN: [u16; 2] = [0x8100, 0x88a8];

/// Protocol number: TCP.
pub(super) const TCP: u8 = 6;
/// Protocol number: UDP.
pub(super) const UDP: u8 = 17;
/// Protocol number: ICMP for IPv6.
pub(super) const ICMPV6: u8 = 58;

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// A TCP packet that is to be cut into pieces of `size` bytes of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gso {
    pub(super) family: Family,
    pub(super) size: u16,
}

/// Where the headers of an IP packet lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) family: Family,
    /// Where the IP header begins.
    pub(super) network: usize,
    /// Where what IP carries begins.
    pub(super) transport: usize,
    /// How long that is, as the IP header says.
    pub(super) transport_len: usize,
    pub(super) protocol: u8,
    /// Only a part of what was sent.
    pub(super) fragment: bool,
}

/// The 16-bit number at `at`.
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

/// Whom a frame is for, and from whom it is.
pub(super) fn addresses(bytes: &[u8]) -> Option<(MacAddress, MacAddress)> {
    let dest = bytes.first_chunk::<6>()?;
    let source = bytes.get(6..)?.first_chunk::<6>()?;
    Some((MacAddress(*dest), MacAddress(*source)))
}

/// A frame's type, and where what it carries begins: behind one VLAN tag, if there is one.
pub(super) fn ethertype(bytes: &[u8]) -> Option<(u16, usize)> {
    match be16(bytes, 12)? {
        tag if VLAN.contains(&tag) => Some((be16(bytes, 16)?, ETHERNET + 4)),
        kind => Some((kind, ETHERNET)),
    }
}

/// Where the headers of an IP packet lie; `None` if it is none or is cut short.
pub(super) fn layout(bytes: &[u8]) -> Option<Layout> {
    match ethertype(bytes)? {
        (IPV4, network) => layout_v4(bytes, network),
        (IPV6, network) => layout_v6(bytes, network),
        _ => None,
    }
}

fn layout_v4(bytes: &[u8], network: usize) -> Option<Layout> {
    let first = *bytes.get(network)?;
    let header = usize::from(first & 15) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    let total = usize::from(be16(bytes, network + 2)?);
    Some(Layout {
        family: Family::V4,
        network,
        transport: network + header,
        transport_len: total.checked_sub(header)?,
        protocol: *bytes.get(network + 9)?,
        fragment: be16(bytes, network + 6)? & 0x3fff != 0,
    })
}

fn layout_v6(bytes: &[u8], network: usize) -> Option<Layout> {
    const FIXED: usize = 40;
    if bytes.get(network)? >> 4 != 6 {
        return None;
    }
    let mut layout = Layout {
        family: Family::V6,
        network,
        transport: network + FIXED,
        transport_len: usize::from(be16(bytes, network + 4)?),
        protocol: *bytes.get(network + 6)?,
        fragment: false,
    };
    // Each step goes on by at least eight bytes of a short header.
    while let Some(len) = extension(bytes, &mut layout)? {
        layout.protocol = *bytes.get(layout.transport)?;
        layout.transport += len;
        layout.transport_len = layout.transport_len.checked_sub(len)?;
    }
    Some(layout)
}

/// The length of an IPv6 extension header, if that is what comes next.
fn extension(bytes: &[u8], layout: &mut Layout) -> Option<Option<usize>> {
    let units = |unit: usize| Some(usize::from(*bytes.get(layout.transport + 1)?) * unit);
    Some(match layout.protocol {
        // Hop-by-hop options, routing, destination options.
        0 | 43 | 60 => Some(units(8)? + 8),
        44 => {
            layout.fragment |= be16(bytes, layout.transport + 2)? & 0xfff9 != 0;
            Some(8)
        }
        // Authentication.
        51 => Some(units(4)? + 8),
        _ => None,
    })
}

/// A number that is the same for all packets of a flow, and differs between most flows.
pub(super) fn flow(bytes: &[u8]) -> u32 {
    let Some(layout) = layout(bytes) else {
        return 0;
    };
    let addresses = match layout.family {
        Family::V4 => layout.network + 12..layout.network + 20,
        Family::V6 => layout.network + 8..layout.network + 40,
    };
    let ports = match layout.protocol {
        TCP | UDP if !layout.fragment => layout.transport..layout.transport + 4,
        _ => 0..0,
    };
    let parts = [addresses, ports].map(|range| bytes.get(range).unwrap_or_default());
    let mix = |hash: u32, bytes: &[u8; 4]| {
        (hash ^ u32::from_le_bytes(*bytes))
            .wrapping_mul(0x9e37_79b1)
            .rotate_left(13)
    };
    let hash = parts
        .iter()
        .flat_map(|part| part.as_chunks::<4>().0)
        .fold(0, mix);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netback::testing::{frame, ipv4, ipv6};

    #[test]
    fn headers_are_found_behind_tags_and_extensions() {
        let plain = frame([1; 6], [2; 6], IPV4, &ipv4([1; 4], [2; 4], TCP, &[0; 20]));
        let found = layout(&plain).unwrap();
        assert_eq!(
            (found.transport, found.transport_len, found.protocol),
            (34, 20, TCP)
        );

        let mut tagged = plain.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert_eq!(layout(&tagged).unwrap().transport, 38);

        let mut rest = alloc::vec![44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        rest.extend([TCP, 0, 0, 0, 0, 0, 0, 0]);
        rest.extend([0; 20]);
        let long = frame([1; 6], [2; 6], IPV6, &ipv6([1; 16], [2; 16], 0, &rest));
        let found = layout(&long).unwrap();
        assert_eq!(
            (found.transport, found.transport_len, found.protocol),
            (78, 20, TCP)
        );
        assert!(!found.fragment);
    }

    #[test]
    fn what_is_cut_short_has_no_layout() {
        let whole = frame([1; 6], [2; 6], IPV6, &ipv6([1; 16], [2; 16], 0, &[60; 9]));
        for len in 0..whole.len() {
            let _ = layout(&whole[..len]);
            let _ = flow(&whole[..len]);
        }
        assert_eq!(layout(&whole[..54]), None);
        let mut short = frame([1; 6], [2; 6], IPV4, &ipv4([1; 4], [2; 4], TCP, &[]));
        short[14] = 0x44;
        assert_eq!(layout(&short), None);
    }

    #[test]
    fn one_flow_keeps_its_number_and_others_differ() {
        let packet = |port: u8| {
            let rest = [0, port, 0, 80, 9, 9, 9, 9];
            flow(&frame(
                [1; 6],
                [2; 6],
                IPV4,
                &ipv4([1; 4], [2; 4], UDP, &rest),
            ))
        };
        assert_eq!(packet(1), packet(1));
        let queues: alloc::collections::BTreeSet<u32> =
            (0..32).map(|port| packet(port) % 4).collect();
        assert_eq!(queues.len(), 4);
    }
}
