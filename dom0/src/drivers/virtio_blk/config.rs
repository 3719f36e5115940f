//! What a virtio disk says about itself. Virtio 1.2, 5.2.3 and 5.2.4.

use backends::host::Geometry;
use bitflags::bitflags;
use guest_abi::PAGE_SIZE;

bitflags! {
    /// Features that this driver can use.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Features: u64 {
        /// A segment has a largest size.
        const SIZE_MAX = 1 << 1;
        /// A request has a largest number of segments.
        const SEG_MAX = 1 << 2;
        /// Nobody may write.
        const READ_ONLY = 1 << 5;
        /// The disk says how large its sectors are.
        const BLK_SIZE = 1 << 6;
        /// It has a cache that can be flushed.
        const FLUSH = 1 << 9;
        /// It says how large its physical sectors are.
        const TOPOLOGY = 1 << 10;
        /// It can forget sectors.
        const DISCARD = 1 << 13;
        /// Descriptor lists outside the ring.
        const INDIRECT = 1 << 28;
        /// Not the interface from before virtio 1.0.
        const VERSION_1 = 1 << 32;
    }
}

/// Offsets in the device's configuration space.
mod field {
    pub(super) const CAPACITY: usize = 0;
    pub(super) const SIZE_MAX: usize = 8;
    pub(super) const SEG_MAX: usize = 12;
    pub(super) const BLK_SIZE: usize = 20;
    pub(super) const TOPOLOGY: usize = 24;
    pub(super) const MAX_DISCARD_SECTORS: usize = 36;
    pub(super) const DISCARD_ALIGNMENT: usize = 44;
}

/// How much one request may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Segments of data.
    pub(super) segments: usize,
    /// Bytes of a segment.
    pub(super) segment_bytes: u32,
    /// Sectors to forget.
    pub(super) discard_sectors: u32,
    /// Whether what is written may lie in a cache for a while.
    pub(super) has_cache: bool,
}

/// Why a disk cannot be used.
pub(super) type Reason = &'static str;

/// Reads the configuration: `word` yields the 32 bits at an offset.
pub(super) fn read(
    features: Features,
    word: impl Fn(usize) -> Option<u32>,
) -> Result<(Geometry, Limits), Reason> {
    let get = |offset| word(offset).ok_or("its configuration is too short");
    let with = |feature, offset, otherwise| {
        if features.contains(feature) {
            get(offset)
        } else {
            Ok(otherwise)
        }
    };
    if !features.contains(Features::VERSION_1 | Features::INDIRECT) {
        return Err("it is older than virtio 1.0, or has no indirect descriptors");
    }
    let sectors = u64::from(get(field::CAPACITY)?) | u64::from(get(field::CAPACITY + 4)?) << 32;
    let sector_size = with(Features::BLK_SIZE, field::BLK_SIZE, 512)?;
    if sector_size != 512 && sector_size != 4096 {
        return Err("its sectors have neither 512 nor 4096 bytes");
    }
    let exponent = with(Features::TOPOLOGY, field::TOPOLOGY, 0)? & 0xff;
    let segment_bytes = with(Features::SIZE_MAX, field::SIZE_MAX, u32::MAX)?;
    if (segment_bytes as usize) < PAGE_SIZE {
        return Err("it takes less than a page at a time");
    }
    let discard_sectors = with(Features::DISCARD, field::MAX_DISCARD_SECTORS, 0)?;
    let alignment = with(Features::DISCARD, field::DISCARD_ALIGNMENT, 0)?;
    let geometry = Geometry {
        sectors: sectors - sectors % u64::from(sector_size / 512),
        sector_size,
        physical_sector_size: sector_size.checked_shl(exponent).unwrap_or(sector_size),
        read_only: features.contains(Features::READ_ONLY),
        discard_granularity: (discard_sectors > 0)
            .then(|| alignment.saturating_mul(512).max(sector_size)),
    };
    let segments = with(Features::SEG_MAX, field::SEG_MAX, 1)?.clamp(1, u32::from(u16::MAX));
    let limits = Limits {
        segments: segments as usize,
        segment_bytes: segment_bytes - segment_bytes % 4096,
        discard_sectors,
        has_cache: features.contains(Features::FLUSH),
    };
    Ok((geometry, limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(offset: usize) -> Option<u32> {
        Some(match offset {
            field::CAPACITY => 2049,
            field::SEG_MAX => 254,
            field::BLK_SIZE => 4096,
            field::MAX_DISCARD_SECTORS => 4_194_303,
            field::DISCARD_ALIGNMENT => 8,
            _ => 0,
        })
    }

    #[test]
    fn a_disk_is_described_as_its_features_allow() {
        let needed = Features::VERSION_1 | Features::INDIRECT;
        let (geometry, limits) = read(needed, word).unwrap();
        assert_eq!((geometry.sectors, geometry.sector_size), (2049, 512));
        assert_eq!((limits.segments, limits.has_cache), (1, false));
        assert_eq!(geometry.discard_granularity, None);

        let all = Features::all() - Features::SIZE_MAX - Features::READ_ONLY;
        let (geometry, limits) = read(all, word).unwrap();
        assert_eq!((geometry.sectors, geometry.sector_size), (2048, 4096));
        assert_eq!((limits.segments, limits.has_cache), (254, true));
        assert_eq!(geometry.discard_granularity, Some(4096));
    }

    #[test]
    fn a_disk_that_cannot_be_used_says_why() {
        assert!(read(Features::VERSION_1, word).is_err());
        // The configuration says that a segment has at most 0 bytes.
        assert!(read(Features::all(), word).is_err());
        assert!(read(Features::all() - Features::SIZE_MAX, |_| None).is_err());
    }
}
