//! How a vif is set up.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use super::rate::Rate;
use crate::host::MacAddress;

/// How a vif is set up: what its line in the config says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The only address its guest may send from.
    pub mac: MacAddress,
    /// If not empty: the only IP addresses its guest may send from.
    pub addresses: Vec<Network>,
    /// How fast its guest may send.
    pub rate: Option<Rate>,
    /// The longest packet, without its Ethernet header, that its guest is told to send.
    pub mtu: u16,
    /// Queues offered.
    pub max_queues: u32,
}

impl Options {
    /// Queues offered if nothing else is said.
    pub const MAX_QUEUES: u32 = 4;

    /// A vif with this address, and without limits.
    #[must_use]
    pub fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            addresses: Vec::new(),
            rate: None,
            mtu: 1500,
            max_queues: Self::MAX_QUEUES,
        }
    }
}

/// The address of a vif that was given none: stable for its domain's name (or UUID) and the
/// vif's number.
#[must_use]
pub fn default_mac(domain: &str, index: u32) -> MacAddress {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = domain.bytes().chain([0]).chain(index.to_le_bytes());
    let hash = bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    MacAddress([0x00, 0x16, 0x3e, a ^ d ^ g, b ^ e ^ h, c ^ f])
}

/// Addresses with a common front: `10.0.0.7`, `10.0.0.0/24`, `fd00::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (u128::from(ours.to_bits()) ^ u128::from(theirs.to_bits())) << 96
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => ours.to_bits() ^ theirs.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= u32::from(self.prefix)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, prefix } = self;
        match Self::from(*address).prefix == *prefix {
            true => write!(f, "{address}"),
            false => write!(f, "{address}/{prefix}"),
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }
}

/// What is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadNetwork(String);

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is neither an IP address nor a network like 10.0.0.0/24",
            self.0
        )
    }
}

impl core::error::Error for BadNetwork {}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.into());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let mut network = Self::from(address.parse::<IpAddr>().map_err(|_| bad())?);
        if let Some(prefix) = prefix {
            let prefix = prefix.parse().map_err(|_| bad())?;
            if prefix > network.prefix {
                return Err(bad());
            }
            network.prefix = prefix;
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_address_is_stable_and_differs_between_vifs() {
        let mac = default_mac("web", 0);
        assert_eq!(mac, default_mac("web", 0));
        assert_eq!(mac.0[..3], [0, 0x16, 0x3e]);
        assert_ne!(mac, default_mac("web", 1));
        assert_ne!(mac, default_mac("web1", 0));
        let all: alloc::collections::BTreeSet<_> = (0..1000)
            .map(|number| default_mac(&alloc::format!("guest{number}"), 0))
            .collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn a_network_contains_what_shares_its_front() {
        let contains = |network: &str, address: &str| {
            network
                .parse::<Network>()
                .unwrap()
                .contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.7", "10.0.0.7") && !contains("10.0.0.7", "10.0.0.6"));
        assert!(contains("10.0.0.0/24", "10.0.0.255") && !contains("10.0.0.0/24", "10.0.1.0"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/64", "fd00::9") && !contains("fd00::/64", "fd01::9"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0", "10.0.0.1/33", "::1/129", "10.0.0.1/x", "host"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
