//! What a virtio network card says about itself. Virtio 1.2, 5.1.3 and 5.1.4.

use backends::host::MacAddress;
use bitflags::bitflags;
use guest_abi::PAGE_SIZE;

bitflags! {
    /// Features that this driver can use: no offloads.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Features: u64 {
        /// It says how long packets may be.
        const MTU = 1 << 3;
        /// It has an address.
        const MAC = 1 << 5;
        /// A frame that comes in may take several buffers.
        const MERGEABLE = 1 << 15;
        /// It says whether it has a link.
        const STATUS = 1 << 16;
        /// It has a control queue.
        const CONTROL = 1 << 17;
        /// Which can be told what to receive.
        const CONTROL_RECEIVE = 1 << 18;
        /// Descriptor lists outside the ring.
        const INDIRECT = 1 << 28;
        /// Not the interface from before virtio 1.0.
        const VERSION_1 = 1 << 32;
    }
}

/// Offsets in the device's configuration space.
mod field {
    pub(super) const MAC: usize = 0;
    pub(super) const STATUS: usize = 6;
    pub(super) const MTU: usize = 10;
}

/// In the status.
const LINK_UP: u16 = 1;

/// Bytes in front of every frame: the offloads asked for, none, and on the way in how many buffers
/// it takes.
pub(super) const HEADER_BYTES: usize = 12;
/// Addresses, a tag and the type, in front of what the MTU counts.
const ETHERNET_BYTES: usize = 18;
/// What Ethernet has always had.
const USUAL_MTU: u16 = 1500;
/// What an MTU can be.
const SMALLEST_MTU: u16 = 68;
const LARGEST_MTU: u16 = 65_521;
/// The longest frame: the longest packet of IP, in front of it what Ethernet wants.
pub(super) const LONGEST_FRAME: usize = 65_535 + ETHERNET_BYTES;
/// The longest one that comes in a single page, behind its header.
const LONGEST_IN_PAGE: usize = PAGE_SIZE - HEADER_BYTES;

/// What the card is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) mac: MacAddress,
    /// The longest packet that its network is known to carry.
    pub(super) mtu: u16,
    /// The longest frame that it takes.
    pub(super) max_frame: usize,
    /// Frames come in several pages if they are long.
    pub(super) mergeable: bool,
    /// It has a link, as far as it says.
    pub(super) link: bool,
    /// It can be told what to receive.
    pub(super) controlled: bool,
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
    let with = |feature, offset, otherwise| match features.contains(feature) {
        true => get(offset),
        false => Ok(otherwise),
    };
    let mut mac = [0; 6];
    for (bytes, offset) in mac.chunks_mut(2).zip((field::MAC..).step_by(2)) {
        bytes.copy_from_slice(&get(offset)?.to_le_bytes());
    }
    let mergeable = features.contains(Features::MERGEABLE);
    let longest = if mergeable {
        LONGEST_FRAME
    } else {
        LONGEST_IN_PAGE
    };
    let mtu = with(Features::MTU, field::MTU, USUAL_MTU)?.clamp(SMALLEST_MTU, LARGEST_MTU);
    // Its network may carry longer ones if it does not say.
    let said = features.contains(Features::MTU);
    let max_frame = if said {
        usize::from(mtu) + ETHERNET_BYTES
    } else {
        longest
    };
    let in_page = u16::try_from(longest - ETHERNET_BYTES).unwrap_or(LARGEST_MTU);
    Ok(Card {
        mac: MacAddress(mac),
        mtu: mtu.min(in_page),
        max_frame: max_frame.min(longest),
        mergeable,
        link: with(Features::STATUS, field::STATUS, LINK_UP)? & LINK_UP != 0,
        controlled: features.contains(Features::CONTROL | Features::CONTROL_RECEIVE),
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
        let card = read(Features::all(), half).unwrap();
        assert_eq!(card.mac.to_string(), "52:54:00:12:34:56");
        assert_eq!((card.mtu, card.max_frame), (9000, 9018));
        assert!(card.mergeable && card.link && card.controlled);
        // One that does not say what its network carries is given what there is.
        let card = read(Features::all() - Features::MTU, half).unwrap();
        assert_eq!((card.mtu, card.max_frame), (1500, 65_553));
    }

    #[test]
    fn without_mergeable_buffers_a_frame_fits_a_page() {
        let one_page = Features::all() - Features::MERGEABLE;
        let card = read(one_page, half).unwrap();
        assert_eq!((card.mtu, card.max_frame), (4066, 4084));
        let card = read(one_page - Features::MTU, half).unwrap();
        assert_eq!((card.mtu, card.max_frame), (1500, 4084));
    }

    #[test]
    fn an_mtu_that_cannot_be_is_not_believed() {
        let with = |mtu| {
            let half = move |offset| {
                if offset == field::MTU {
                    Some(mtu)
                } else {
                    half(offset)
                }
            };
            read(Features::all(), half).unwrap()
        };
        assert_eq!(with(0).mtu, 68);
        assert_eq!(
            (with(u16::MAX).mtu, with(u16::MAX).max_frame),
            (65_521, 65_539)
        );
    }

    #[test]
    fn a_card_that_cannot_be_used_says_why() {
        assert!(read(Features::all() - Features::MAC, half).is_err());
        assert!(read(Features::MAC, half).is_err());
        assert!(read(Features::all(), |_| None).is_err());
    }
}
