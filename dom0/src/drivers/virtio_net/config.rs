//! What a virtio network card says about itself. Virtio 1.2, 5.1.3 and 5.1.4.

use backends::host::MacAddress;
use bitflags::bitflags;
use guest_abi::PAGE_SIZE;

bitflags! {
    /// Features that this driver can use: no offloads.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Features: u64 {
        /// It says how long its frames may be.
        const MTU = 1 << 3;
        /// It has an address.
        const MAC = 1 << 5;
        /// Descriptor lists outside the ring.
        const INDIRECT = 1 << 28;
        /// Not the interface from before virtio 1.0.
        const VERSION_1 = 1 << 32;
    }
}

/// Offsets in the device's configuration space.
mod field {
    pub(super) const MAC: usize = 0;
    pub(super) const MTU: usize = 10;
}

/// Bytes in front of every frame: the offloads asked for, none.
pub(super) const HEADER_BYTES: usize = 12;
/// Addresses and type, in front of what the MTU counts.
const ETHERNET_BYTES: usize = 14;
/// What Ethernet has always had.
const USUAL_MTU: usize = 1500;
/// A frame and its header come in one page.
const LONGEST_FRAME: usize = PAGE_SIZE - HEADER_BYTES;

/// What the card is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) mac: MacAddress,
    pub(super) max_frame: usize,
}

/// Reads the configuration: `half` yields the 16 bits at an offset.
pub(super) fn read(
    features: Features,
    half: impl Fn(usize) -> Option<u16>,
) -> Result<Card, &'static str> {
    if !features.contains(Features::VERSION_1 | Features::INDIRECT) {
        return Err("it is older than virtio 1.0, or has no indirect descriptors");
    }
    if !features.contains(Features::MAC) {
        return Err("it has no address");
    }
    let get = |offset| half(offset).ok_or("its configuration is too short");
    let mut mac = [0; 6];
    for (bytes, offset) in mac.chunks_mut(2).zip((field::MAC..).step_by(2)) {
        bytes.copy_from_slice(&get(offset)?.to_le_bytes());
    }
    let mtu = match features.contains(Features::MTU) {
        true => usize::from(get(field::MTU)?),
        false => USUAL_MTU,
    };
    Ok(Card {
        mac: MacAddress(mac),
        max_frame: (mtu + ETHERNET_BYTES).min(LONGEST_FRAME),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(offset: usize) -> Option<u16> {
        [0x5452, 0x1200, 0x5634, 1, 0, 9000]
            .get(offset / 2)
            .copied()
    }

    #[test]
    fn a_card_is_described_as_its_features_allow() {
        let card = read(Features::all() - Features::MTU, half).unwrap();
        assert_eq!(card.mac.to_string(), "52:54:00:12:34:56");
        assert_eq!(card.max_frame, 1514);
        // Longer frames than fit into a page are not for us.
        assert_eq!(read(Features::all(), half).unwrap().max_frame, 4084);
    }

    #[test]
    fn a_card_that_cannot_be_used_says_why() {
        assert!(read(Features::all() - Features::MAC, half).is_err());
        assert!(read(Features::MAC, half).is_err());
        assert!(read(Features::all(), |_| None).is_err());
    }
}
