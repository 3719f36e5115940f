//! Frames and addresses: one type for each kind of number, so that they cannot be mixed up.
//!
//! - [`Mfn`]: a frame of the machine. [`MachAddr`]: a byte of the machine.
//! - [`Pfn`]: a frame as the guest counts its own memory.
//! - [`GuestVirtAddr`]: an address in a guest's address space, as claimed by somebody: holding one
//!   proves nothing, not even that it is canonical.

/// Bits of an address that lie within its page.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

newtype! {
    /// A machine frame number.
    pub struct Mfn(u64), "{:#x}"
}

newtype! {
    /// A guest's own (pseudo-physical) frame number.
    pub struct Pfn(u64), "{:#x}"
}

newtype! {
    /// A machine address.
    pub struct MachAddr(u64), "{:#x}"
}

newtype! {
    /// An address a guest named. It may be anything.
    pub struct GuestVirtAddr(u64), "{:#x}"
}

impl Mfn {
    /// No frame: what a p2m list holds for a hole.
    pub const INVALID: Self = Self(u64::MAX);

    /// The frame `count` further up, unless that overflows.
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The machine address of the frame's first byte.
    ///
    /// Frame numbers above 2^52 exist on no machine; their upper bits are lost here.
    pub const fn to_maddr(self) -> MachAddr {
        MachAddr(self.0 << PAGE_SHIFT)
    }

    /// As [`to_maddr`](Self::to_maddr), for a number somebody else supplied.
    pub const fn checked_to_maddr(self) -> Option<MachAddr> {
        let maddr = self.to_maddr();
        if maddr.0 >> PAGE_SHIFT == self.0 {
            Some(maddr)
        } else {
            None
        }
    }
}

impl Pfn {
    /// No frame: what a machine-to-phys entry holds for a frame without one.
    pub const INVALID: Self = Self(u64::MAX);

    /// The frame `count` further up, unless that overflows.
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The guest's pseudo-physical address of the frame's first byte.
    pub const fn to_paddr(self) -> u64 {
        self.0 << PAGE_SHIFT
    }

    /// The frame that contains a pseudo-physical address.
    pub const fn containing(paddr: u64) -> Self {
        Self(paddr >> PAGE_SHIFT)
    }
}

impl MachAddr {
    /// The frame the address lies in.
    pub const fn frame(self) -> Mfn {
        Mfn(self.0 >> PAGE_SHIFT)
    }

    /// The offset within that frame.
    pub const fn page_offset(self) -> usize {
        page_offset(self.0)
    }

    /// The address `bytes` further up, unless that overflows.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl GuestVirtAddr {
    /// The null pointer.
    pub const NULL: Self = Self(0);

    /// Whether this is the null pointer.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Whether bits 63 to 47 are all alike, as four-level paging demands.
    pub const fn is_canonical(self) -> bool {
        let top = self.0 >> 47;
        top == 0 || top == 0x1_ffff
    }

    /// The offset within the page.
    pub const fn page_offset(self) -> usize {
        page_offset(self.0)
    }

    /// The first byte of the page.
    pub const fn page_base(self) -> Self {
        Self(self.0 & !(PAGE_SIZE as u64 - 1))
    }

    /// The address `bytes` further up, unless that overflows.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The address `bytes` further down, unless that underflows.
    pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
        match self.0.checked_sub(bytes) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The index this address has in a page table of `level` (1 to 4).
    pub const fn table_index(self, level: u32) -> usize {
        let shift = PAGE_SHIFT + 9 * level.saturating_sub(1);
        match self.0.checked_shr(shift) {
            Some(rest) => (rest & 0x1ff) as usize,
            None => 0,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "masked to twelve bits")]
const fn page_offset(address: u64) -> usize {
    (address & (PAGE_SIZE as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hole_in_the_address_space_is_not_canonical() {
        for (address, canonical) in [
            (0, true),
            (0x7fff_ffff_ffff, true),
            (0x8000_0000_0000, false),
            (0xffff_7fff_ffff_ffff, false),
            (0xffff_8000_0000_0000, true),
            (u64::MAX, true),
        ] {
            assert_eq!(
                GuestVirtAddr::new(address).is_canonical(),
                canonical,
                "{address:#x}"
            );
        }
    }

    #[test]
    fn a_frame_number_no_machine_has_is_refused() {
        assert_eq!(Mfn::new(3).checked_to_maddr(), Some(MachAddr::new(0x3000)));
        assert_eq!(Mfn::new(1 << 52).checked_to_maddr(), None);
        assert_eq!(Mfn::INVALID.checked_to_maddr(), None);
    }

    #[test]
    fn table_indices_follow_the_levels() {
        let address = GuestVirtAddr::new(0xffff_ffff_8120_3000);
        assert_eq!(address.table_index(4), 511);
        assert_eq!(address.table_index(3), 510);
        assert_eq!(address.table_index(2), 9);
        assert_eq!(address.table_index(1), 3);
    }
}
