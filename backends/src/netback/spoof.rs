//! Keeps a guest from speaking in another's name.
//!
//! Always: the source of a frame is the vif's own address. With a list of IP addresses also:
//! nothing but ARP, IPv4 and IPv6, each from an address of the list. What a host says before it
//! has an address is let through: DHCP requests, ARP probes, and IPv6 from the unspecified or
//! the vif's own link-local address.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::options::Network;
use super::packet::{self, ARP, ICMPV6, IPV4, IPV6, UDP, addresses, be16, ethertype};
use crate::host::MacAddress;

/// What a guest may call itself.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    mac: MacAddress,
    networks: Vec<Network>,
}

impl Identity {
    pub(super) fn new(mac: MacAddress, networks: Vec<Network>) -> Self {
        Self { mac, networks }
    }

    /// Whether a guest may send a packet that begins with these bytes.
    pub(super) fn may_send(&self, bytes: &[u8]) -> bool {
        let from_us = addresses(bytes).is_some_and(|(_, source)| source == self.mac);
        from_us && (self.networks.is_empty() || self.is_ours(bytes).unwrap_or(false))
    }

    /// Whether it is from an address of the list; `None` if it is cut short.
    fn is_ours(&self, bytes: &[u8]) -> Option<bool> {
        let (kind, at) = ethertype(bytes)?;
        let rest = bytes.get(at..)?;
        match kind {
            ARP => self.arp(rest),
            IPV4 => self.ipv4(rest),
            IPV6 => self.ipv6(bytes, rest),
            _ => Some(false),
        }
    }

    fn listed(&self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        self.networks
            .iter()
            .any(|network| network.contains(address))
    }

    fn arp(&self, arp: &[u8]) -> Option<bool> {
        // Ethernet and IPv4, with addresses of six and four bytes.
        let known = arp.get(..6)? == [0, 1, 8, 0, 6, 4];
        let hardware = arp.get(8..14)? == self.mac.0;
        let address = Ipv4Addr::from(*arp.get(14..)?.first_chunk::<4>()?);
        Some(known && hardware && (address.is_unspecified() || self.listed(address)))
    }

    fn ipv4(&self, ip: &[u8]) -> Option<bool> {
        if ip.first()? >> 4 != 4 {
            return Some(false);
        }
        let address = Ipv4Addr::from(*ip.get(12..)?.first_chunk::<4>()?);
        if self.listed(address) {
            return Some(true);
        }
        let transport = usize::from(ip.first()? & 15) * 4;
        let asks_dhcp = *ip.get(9)? == UDP
            && be16(ip, 6)? & 0x1fff == 0
            && be16(ip, transport)? == 68
            && be16(ip, transport + 2)? == 67;
        Some(address.is_unspecified() && asks_dhcp)
    }

    fn ipv6(&self, bytes: &[u8], ip: &[u8]) -> Option<bool> {
        const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
        let address = Ipv6Addr::from(*ip.get(8..)?.first_chunk::<16>()?);
        let ours = |address: Ipv6Addr| address == self.link_local() || self.listed(address);
        let layout = packet::layout(bytes)?;
        if layout.protocol == ICMPV6 {
            if layout.fragment {
                // What it says can't be checked.
                return Some(false);
            }
            let icmp = bytes.get(layout.transport..)?;
            if *icmp.first()? == NEIGHBOUR_ADVERTISEMENT {
                let target = Ipv6Addr::from(*icmp.get(8..)?.first_chunk::<16>()?);
                return Some(ours(address) && ours(target));
            }
        }
        Some(ours(address) || address.is_unspecified() && layout.protocol == ICMPV6)
    }

    /// The address that a host gives itself from its hardware address (EUI-64).
    fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0;
        Ipv6Addr::from([
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            a ^ 2,
            b,
            c,
            0xff,
            0xfe,
            d,
            e,
            f,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netback::testing::{frame, ipv4, ipv6};

    const MAC: [u8; 6] = [0, 0x16, 0x3e, 1, 2, 3];

    fn identity(networks: &[&str]) -> Identity {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        Identity::new(MacAddress(MAC), networks)
    }

    fn sends(identity: &Identity, kind: u16, rest: &[u8]) -> bool {
        identity.may_send(&frame([9; 6], MAC, kind, rest))
    }

    fn arp(hardware: [u8; 6], sender: [u8; 4]) -> Vec<u8> {
        let mut arp = alloc::vec![0, 1, 8, 0, 6, 4, 0, 2];
        arp.extend(hardware);
        arp.extend(sender);
        arp.extend([0; 10]);
        arp
    }

    #[test]
    fn a_foreign_source_address_is_refused() {
        let open = identity(&[]);
        assert!(sends(&open, 0x1234, &[0; 50]));
        assert!(!open.may_send(&frame([9; 6], [9; 6], IPV4, &[0; 50])));
        assert!(!open.may_send(&frame([9; 6], [0xff; 6], IPV4, &[0; 50])));
        assert!(!open.may_send(&[0; 11]));
    }

    #[test]
    fn arp_speaks_for_listed_addresses_only() {
        let bound = identity(&["10.0.0.7"]);
        assert!(sends(&bound, ARP, &arp(MAC, [10, 0, 0, 7])));
        assert!(sends(&bound, ARP, &arp(MAC, [0; 4])), "a probe");
        assert!(!sends(&bound, ARP, &arp(MAC, [10, 0, 0, 8])));
        assert!(!sends(&bound, ARP, &arp([9; 6], [10, 0, 0, 7])));
        assert!(!sends(&bound, ARP, &arp(MAC, [10, 0, 0, 7])[..10]));
    }

    #[test]
    fn ipv4_comes_from_listed_addresses_or_asks_for_one() {
        let bound = identity(&["10.0.0.0/30", "fd00::/64"]);
        let from = |source, protocol, rest: &[u8]| {
            sends(&bound, IPV4, &ipv4(source, [1; 4], protocol, rest))
        };
        assert!(from([10, 0, 0, 1], 6, &[0; 20]));
        assert!(!from([10, 0, 0, 9], 6, &[0; 20]));
        assert!(from([0; 4], UDP, &[0, 68, 0, 67, 0, 8, 0, 0]));
        assert!(!from([0; 4], UDP, &[0, 68, 0, 53, 0, 8, 0, 0]));
        assert!(!from([0; 4], 6, &[0, 68, 0, 67, 0, 8, 0, 0]));
        assert!(!sends(&bound, 0x8035, &[0; 40]), "nothing but ARP and IP");
    }

    #[test]
    fn a_tag_hides_nothing() {
        let bound = identity(&["10.0.0.7"]);
        let mut rest = alloc::vec![0, 5, 8, 0];
        rest.extend(ipv4([10, 0, 0, 8], [1; 4], 6, &[0; 20]));
        assert!(!sends(&bound, 0x8100, &rest));
        let mut twice = alloc::vec![0, 5, 0x81, 0, 0, 5, 8, 0];
        twice.extend(ipv4([10, 0, 0, 7], [1; 4], 6, &[0; 20]));
        assert!(!sends(&bound, 0x8100, &twice));
    }

    #[test]
    fn ipv6_advertises_only_its_own() {
        let bound = identity(&["10.0.0.7", "fd00::7"]);
        let ours = "fd00::7".parse::<Ipv6Addr>().unwrap().octets();
        let other = "fd00::8".parse::<Ipv6Addr>().unwrap().octets();
        let local = bound.link_local().octets();
        let from = |source, protocol, rest: &[u8]| {
            sends(&bound, IPV6, &ipv6(source, [1; 16], protocol, rest))
        };
        let advertise = |target: [u8; 16]| {
            let mut icmp = alloc::vec![136, 0, 0, 0, 0, 0, 0, 0];
            icmp.extend(target);
            icmp
        };
        assert!(from(ours, 6, &[0; 20]) && from(local, 6, &[0; 20]));
        assert!(!from(other, 6, &[0; 20]));
        assert!(from([0; 16], ICMPV6, &[135; 24]) && !from([0; 16], UDP, &[0; 24]));
        assert!(from(ours, ICMPV6, &advertise(ours)));
        assert!(!from(ours, ICMPV6, &advertise(other)));
        assert!(!from([0; 16], ICMPV6, &advertise(ours)));
    }
}
