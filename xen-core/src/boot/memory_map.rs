//! Which machine memory there is, and which of it is free at start-up.
//!
//! [`MemoryMap`] starts as the firmware's map and loses what is in use: the low megabyte, the
//! image, the modules. What the core itself needs before the frame allocator runs is taken from it
//! with [`MemoryMap::take`], highest address first below a limit, so that low memory (which only
//! some devices can reach) stays whole. The rest goes to the frame allocator.

use core::fmt;

use heapless::Vec;

/// The most regions that a map may have.
pub const MAX_REGIONS: usize = 128;

const PAGE: u64 = 4096;

/// What a region of the firmware's map is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Memory.
    Ram,
    /// Memory that holds ACPI tables: usable once they are read; we leave it alone.
    AcpiTables,
    /// Memory that the firmware keeps.
    AcpiStorage,
    /// Anything else.
    Reserved,
    /// Memory that does not work.
    Defective,
}

impl Kind {
    /// From the number in a BIOS (INT 15h, E820h) map.
    pub const fn from_e820(number: u32) -> Self {
        match number {
            1 => Self::Ram,
            3 => Self::AcpiTables,
            4 => Self::AcpiStorage,
            5 => Self::Defective,
            _ => Self::Reserved,
        }
    }

    /// From the type in EFI's memory map, as it stands once the boot services are gone.
    pub const fn from_efi(number: u32) -> Self {
        match number {
            // Loader's code and data, boot services' code and data, conventional memory.
            1..=4 | 7 => Self::Ram,
            8 => Self::Defective,
            9 => Self::AcpiTables,
            10 => Self::AcpiStorage,
            _ => Self::Reserved,
        }
    }

    /// The number in a BIOS map.
    pub const fn to_e820(self) -> u32 {
        match self {
            Self::Ram => 1,
            Self::Reserved => 2,
            Self::AcpiTables => 3,
            Self::AcpiStorage => 4,
            Self::Defective => 5,
        }
    }
}

/// A range of machine addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// The first byte.
    pub start: u64,
    /// The byte behind the last.
    pub end: u64,
    /// What it is.
    pub kind: Kind,
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, kind } = self;
        write!(f, "{start:#014x}-{end:#014x} {kind:?}")
    }
}

/// A range of whole pages that nobody uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreeRange {
    /// The first byte, page-aligned.
    pub start: u64,
    /// The byte behind the last, page-aligned.
    pub end: u64,
}

/// The free ranges of memory at start-up, in ascending order.
#[derive(Clone, Debug, Default)]
pub struct MemoryMap {
    free: Vec<FreeRange, MAX_REGIONS>,
}

impl MemoryMap {
    /// All of the RAM in `regions`, in whole pages.
    pub fn new(regions: &[Region]) -> Self {
        let mut map = Self::default();
        for region in regions.iter().filter(|region| region.kind == Kind::Ram) {
            map.add(
                region.start.next_multiple_of(PAGE),
                region.end & !(PAGE - 1),
            );
        }
        map.free.sort_unstable_by_key(|range| range.start);
        // A firmware's map may contradict itself: where anything else overlaps RAM, it wins.
        for region in regions.iter().filter(|region| region.kind != Kind::Ram) {
            map.reserve(region.start, region.end);
        }
        map
    }

    /// The free ranges.
    pub fn free(&self) -> &[FreeRange] {
        &self.free
    }

    /// How many bytes are free.
    pub fn free_bytes(&self) -> u64 {
        self.free.iter().map(|range| range.end - range.start).sum()
    }

    /// Takes every page that `start..end` touches out of the free ranges.
    pub fn reserve(&mut self, start: u64, end: u64) {
        let (start, end) = (
            start & !(PAGE - 1),
            end.saturating_add(PAGE - 1) & !(PAGE - 1),
        );
        let before = core::mem::take(&mut self.free);
        for range in before {
            self.add(range.start, range.end.min(start));
            self.add(range.start.max(end), range.end);
        }
    }

    /// Takes `bytes` (whole pages) aligned to `align` (a power of two) out of the highest free
    /// range below `limit` that has room.
    pub fn take(&mut self, bytes: u64, align: u64, limit: u64) -> Option<u64> {
        let start = self.free.iter().rev().find_map(|range| {
            let start = range.end.min(limit).checked_sub(bytes)? & !(align - 1);
            (start >= range.start).then_some(start)
        })?;
        self.reserve(start, start + bytes);
        Some(start)
    }

    /// Adds a range unless it is empty. A range too many is lost, not handed out twice.
    fn add(&mut self, start: u64, end: u64) {
        if start < end {
            let _ = self.free.push(FreeRange { start, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FreeRange, Kind, MemoryMap, Region};

    fn region(start: u64, end: u64, kind: Kind) -> Region {
        Region { start, end, kind }
    }

    fn map() -> MemoryMap {
        MemoryMap::new(&[
            region(0, 0x9_fc00, Kind::Ram),
            region(0x9_fc00, 0xa_0000, Kind::Reserved),
            region(0x10_0000, 0x80_0000, Kind::Ram),
        ])
    }

    #[test]
    fn only_whole_pages_of_ram_are_free() {
        let whole = [(0, 0x9_f000), (0x10_0000, 0x80_0000)];
        assert_eq!(
            map().free(),
            whole.map(|(start, end)| FreeRange { start, end })
        );
    }

    #[test]
    fn a_reservation_cuts_a_hole_of_whole_pages() {
        let mut map = map();
        map.reserve(0x20_0010, 0x20_1001);
        assert_eq!(
            map.free()[1],
            FreeRange {
                start: 0x10_0000,
                end: 0x20_0000
            }
        );
        assert_eq!(
            map.free()[2],
            FreeRange {
                start: 0x20_2000,
                end: 0x80_0000
            }
        );
    }

    #[test]
    fn what_is_taken_is_no_longer_free() {
        let mut map = map();
        let before = map.free_bytes();
        let taken = map.take(0x3000, 0x1000, u64::MAX).unwrap();
        assert_eq!(taken, 0x7f_d000);
        assert_eq!(map.free_bytes(), before - 0x3000);
        assert_eq!(map.take(0x20_0000, 0x20_0000, u64::MAX), Some(0x40_0000));
        assert_eq!(map.take(0x1000, 0x1000, 0x1000), Some(0));
        assert_eq!(map.take(0x1000, 0x1000, 0x1000), None);
        assert_eq!(map.take(1 << 40, 0x1000, u64::MAX), None);
    }

    #[test]
    fn reserved_wins_over_ram_where_they_overlap() {
        let map = MemoryMap::new(&[
            region(0, 0x4000, Kind::Ram),
            region(0x1800, 0x2000, Kind::Reserved),
        ]);
        assert_eq!(map.free_bytes(), 0x3000);
    }
}
