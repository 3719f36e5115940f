//! Frames made by hand.

use alloc::vec::Vec;

use crate::netback::packet::{IPV4, IPV6, TCP};

/// The address of a test's guest.
#[must_use]
pub fn mac(number: u8) -> [u8; 6] {
    [0, 0x16, 0x3e, 0, 0, number]
}

/// Bytes that tell when they are mixed up.
#[must_use]
pub fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// An Ethernet frame.
#[must_use]
pub fn frame(dest: [u8; 6], source: [u8; 6], kind: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(dest);
    frame.extend(source);
    frame.extend(kind.to_be_bytes());
    frame.extend(rest);
    frame
}

/// An IPv4 packet, its own checksum left out.
#[must_use]
pub fn ipv4(source: [u8; 4], dest: [u8; 4], protocol: u8, rest: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + rest.len()).unwrap_or(u16::MAX);
    let mut packet = alloc::vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(dest);
    packet.extend(rest);
    packet
}

/// An IPv6 packet.
#[must_use]
pub fn ipv6(source: [u8; 16], dest: [u8; 16], protocol: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap_or(u16::MAX);
    let mut packet = alloc::vec![0x60, 0, 0, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([protocol, 64]);
    packet.extend(source);
    packet.extend(dest);
    packet.extend(rest);
    packet
}

/// A TCP packet with `len` bytes of payload, over IPv6 or IPv4, from guest `from`.
#[must_use]
pub fn tcp(v6: bool, to: [u8; 6], from: u8, len: usize) -> Vec<u8> {
    let mut tcp = alloc::vec![0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2];
    tcp.extend([0x80, 0x18, 1, 0, 0xde, 0xad, 0, 0]);
    tcp.extend([1; 12]);
    tcp.extend(pattern(len));
    if v6 {
        frame(to, mac(from), IPV6, &ipv6([from; 16], [9; 16], TCP, &tcp))
    } else {
        let packet = ipv4([10, 0, 0, from], [10, 0, 0, 9], TCP, &tcp);
        frame(to, mac(from), IPV4, &packet)
    }
}
