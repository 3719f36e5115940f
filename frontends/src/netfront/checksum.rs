//! Checksums of TCP and UDP within Ethernet frames: left blank, completed, verified.
//!
//! "Blank" is what the protocol calls a checksum field that holds the sum of the pseudo header only:
//! whoever sends the frame onto a wire adds the rest. Between domains nobody need do it at all.

/// Where a frame's TCP or UDP part lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transport {
    /// Its first byte.
    start: usize,
    /// Its end: what follows is padding.
    end: usize,
    /// The checksum field.
    field: usize,
    /// The sum of the pseudo header, not folded.
    pseudo: u32,
    udp: bool,
}

/// Whether a frame is IPv6.
#[must_use]
pub fn is_ipv6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
}

/// Sums 16-bit words, the last one filled up with a zero.
fn sum(bytes: &[u8]) -> u32 {
    let mut chunks = bytes.chunks_exact(2);
    let words = chunks
        .by_ref()
        .map(|word| u64::from(word[0]) << 8 | u64::from(word[1]));
    let mut total: u64 = words.sum();
    if let [last] = chunks.remainder() {
        total += u64::from(*last) << 8;
    }
    fold(total).into()
}

/// Folds the carries into 16 bits.
fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(0)
}

/// Finds the TCP or UDP part; `None` for everything else, fragments included.
fn find(frame: &[u8]) -> Option<Transport> {
    let ip = frame.get(14..)?;
    let (header, len, protocol, addresses) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = usize::from(ip.first()? & 15) * 4;
            let fragment = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff;
            if header < 20 || fragment != 0 {
                return None;
            }
            let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
            (
                header,
                total.checked_sub(header)?,
                *ip.get(9)?,
                ip.get(12..20)?,
            )
        }
        [0x86, 0xdd] => {
            let payload = usize::from(u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?]));
            (40, payload, *ip.get(6)?, ip.get(8..40)?)
        }
        _ => return None,
    };
    let (offset, udp) = match protocol {
        6 => (16, false),
        17 => (6, true),
        _ => return None,
    };
    let start = 14 + header;
    let end = start.checked_add(len)?;
    if end > frame.len() || offset + 2 > len {
        return None;
    }
    let len = u32::try_from(len).ok()?;
    Some(Transport {
        start,
        end,
        field: start + offset,
        pseudo: sum(addresses) + u32::from(protocol) + len,
        udp,
    })
}

fn store(frame: &mut [u8], at: usize, value: u16) {
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// Leaves the checksum blank; whether the frame has one.
pub fn blank(frame: &mut [u8]) -> bool {
    let Some(transport) = find(frame) else {
        return false;
    };
    store(frame, transport.field, fold(transport.pseudo.into()));
    true
}

/// Computes the checksum, whatever is in its field.
pub fn complete(frame: &mut [u8]) {
    let Some(transport) = find(frame) else {
        return;
    };
    store(frame, transport.field, 0);
    let data = frame.get(transport.start..transport.end).map_or(0, sum);
    let checksum = !fold(u64::from(transport.pseudo) + u64::from(data));
    // UDP writes zero as its complement, because zero means that there is none.
    let checksum = if transport.udp && checksum == 0 {
        0xffff
    } else {
        checksum
    };
    store(frame, transport.field, checksum);
}

/// Whether the checksum is right, or there is none.
#[must_use]
pub fn is_right(frame: &[u8]) -> bool {
    let Some(transport) = find(frame) else {
        return true;
    };
    if transport.udp && frame.get(transport.field..transport.field + 2) == Some(&[0, 0]) {
        return true;
    }
    let data = frame.get(transport.start..transport.end).map_or(0, sum);
    fold(u64::from(transport.pseudo) + u64::from(data)) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 frame with a TCP header and some bytes.
    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0]);
        let total = u16::try_from(40 + payload.len()).unwrap();
        let mut ip = vec![0x45, 0];
        ip.extend(total.to_be_bytes());
        ip.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(ip);
        frame.extend([
            0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 16, 0, 0, 0, 0, 0,
        ]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_completed_checksum_is_right_and_a_changed_byte_is_noticed() {
        for payload in [&b""[..], b"odd", b"even"] {
            let mut frame = tcp(payload);
            complete(&mut frame);
            assert!(is_right(&frame));
            frame[36] ^= 1;
            assert!(!is_right(&frame));
        }
    }

    #[test]
    fn a_blank_checksum_is_the_sum_of_the_pseudo_header() {
        let mut frame = tcp(b"x");
        assert!(blank(&mut frame));
        // 10.0.0.1 + 10.0.0.2 + protocol 6 + 21 bytes.
        let expected: u16 = 0x0a00 + 1 + 0x0a00 + 2 + 6 + 21;
        assert_eq!(frame[50..52], expected.to_be_bytes());
    }

    #[test]
    fn padding_behind_the_packet_does_not_count() {
        let mut frame = tcp(b"x");
        complete(&mut frame);
        frame.extend([0xaa; 9]);
        assert!(is_right(&frame));
    }

    #[test]
    fn what_is_neither_tcp_nor_udp_has_no_checksum() {
        let mut frame = tcp(b"x");
        frame[23] = 1;
        assert!(!blank(&mut frame) && is_right(&frame));
        assert!(!blank(&mut [0; 60]) && !blank(&mut [8; 14]));
        let mut fragment = tcp(b"x");
        fragment[20] = 0x20;
        assert!(!blank(&mut fragment));
    }

    #[test]
    fn a_length_beyond_the_frame_is_not_followed() {
        let mut frame = tcp(b"x");
        frame[16] = 0xff;
        assert!(!blank(&mut frame) && is_right(&frame));
    }
}
