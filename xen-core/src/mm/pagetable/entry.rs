//! What a guest may put into a page-table entry, and what the core stores for it.
//!
//! Guest kernel and guest user both run in ring 3, so every entry stored carries USER; bit 52 of
//! an L1 entry remembers that the guest meant a kernel page. GLOBAL is never stored: a load of
//! CR3 then drops all translations of a guest, which keeps type changes sound.

use guest_abi::mmu::{FIRST_HYPERVISOR_L4_SLOT, LAST_HYPERVISOR_L4_SLOT, Pte, PteFlags};

/// A level of page tables; an entry of level 1 maps a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// Maps pages.
    L1 = 1,
    /// Points to L1 tables.
    L2 = 2,
    /// Points to L2 tables.
    L3 = 3,
    /// The root.
    L4 = 4,
}

impl Level {
    /// The level that an entry of a table of this level points at.
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::L1 => None,
            Self::L2 => Some(Self::L1),
            Self::L3 => Some(Self::L2),
            Self::L4 => Some(Self::L3),
        }
    }

    /// The number by which people call it.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

const CACHE: PteFlags = PteFlags::PWT.union(PteFlags::PCD).union(PteFlags::PAT);
const ACCESSED_DIRTY: PteFlags = PteFlags::ACCESSED.union(PteFlags::DIRTY);

/// Bits that may differ between two L1 entries for the same frame without any reference changing
/// hands: none of them opens an access to the frame that the other entry did not have a right to.
/// (Guest user mode lives in another root, so USER is no border between domains.)
const HARMLESS: PteFlags = ACCESSED_DIRTY
    .union(PteFlags::AVAIL_LOW)
    .union(PteFlags::USER)
    .union(PteFlags::GLOBAL)
    .union(PteFlags::GUEST_KERNEL)
    .union(PteFlags::NX);

/// The accessed and dirty bits, which the CPU sets.
pub const AD_BITS: u64 = ACCESSED_DIRTY.bits();

/// Whether a present entry of `level` has only bits a guest may set. `cache` allows the cache
/// attributes in L1 entries, for domains that own devices.
pub const fn has_allowed_bits(pte: Pte, level: Level, cache: bool) -> bool {
    let forbidden = match level {
        Level::L1 if cache => PteFlags::empty(),
        Level::L1 => CACHE,
        _ => CACHE.union(PteFlags::GLOBAL),
    };
    pte.get() & forbidden.bits() == 0
}

/// Whether the entry asks for anything but write-back memory.
pub const fn changes_caching(pte: Pte) -> bool {
    pte.get() & CACHE.bits() != 0
}

/// Whether the entry lets its user write.
pub const fn is_writable(pte: Pte) -> bool {
    pte.get() & PteFlags::RW.bits() != 0
}

/// The entry as the core stores it.
#[inline]
pub const fn as_stored(pte: Pte, level: Level) -> Pte {
    let user = PteFlags::USER.bits();
    Pte::new(match level {
        Level::L1 if pte.get() & user == 0 => {
            (pte.get() | user | PteFlags::GUEST_KERNEL.bits()) & !PteFlags::GLOBAL.bits()
        }
        Level::L1 => pte.get() & !PteFlags::GLOBAL.bits(),
        Level::L2 | Level::L3 => pte.get() | user,
        Level::L4 => pte.get() | user | PteFlags::ACCESSED.bits(),
    })
}

/// How two present L1 entries differ, as far as references are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Neither the frame nor the right to write it.
    Harmless,
    /// The right to write the same frame.
    Access,
    /// The frame, or bits that need the full check.
    Other,
}

/// Compares two present L1 entries.
#[inline]
pub const fn compare(old: Pte, new: Pte) -> Change {
    let rest = (old.get() ^ new.get()) & !HARMLESS.bits();
    if rest == 0 {
        Change::Harmless
    } else if rest == PteFlags::RW.bits() {
        Change::Access
    } else {
        Change::Other
    }
}

/// Whether an entry of an L4 belongs to the core.
pub const fn is_core_slot(index: usize) -> bool {
    index >= FIRST_HYPERVISOR_L4_SLOT && index <= LAST_HYPERVISOR_L4_SLOT
}

#[cfg(test)]
mod tests {
    use super::{Change, Level, as_stored, compare, has_allowed_bits};
    use guest_abi::mmu::{Pte, PteFlags};
    use proptest::prelude::{any, proptest};

    const PRESENT: u64 = 1;

    #[test]
    fn a_superpage_is_refused_at_every_level() {
        for level in [Level::L1, Level::L2, Level::L3, Level::L4] {
            let pte = Pte::new(PRESENT | PteFlags::PSE.bits());
            assert!(!has_allowed_bits(pte, level, false), "{level:?}");
        }
        let pte = Pte::new(PRESENT | PteFlags::PSE.bits());
        assert!(!has_allowed_bits(pte, Level::L2, true));
    }

    #[test]
    fn a_kernel_entry_is_remembered_by_bit_52() {
        let stored = as_stored(Pte::new(0x1003), Level::L1);
        assert_eq!(stored.get(), 0x1007 | 1 << 52);
        assert_eq!(as_stored(stored, Level::L1), stored);
    }

    #[test]
    fn global_is_never_stored() {
        let stored = as_stored(Pte::new(0x1107), Level::L1);
        assert_eq!(stored.get() & PteFlags::GLOBAL.bits(), 0);
    }

    proptest! {
        /// The fast path for flags, against the long way round: whatever passes as harmless has
        /// the same frame, the same right to write, and no bit that would have been refused.
        #[test]
        fn harmless_changes_need_no_check(old in any::<u64>(), flip in any::<u64>()) {
            let old = Pte::new((old | PRESENT) & !0x198);
            for mask in [flip, flip & flip.rotate_left(7), 1 << (flip % 64)] {
                let new = Pte::new(old.get() ^ mask & !PRESENT);
                if compare(old, new) == Change::Harmless {
                    assert_eq!(old.frame(), new.frame());
                    assert_eq!((old.get() ^ new.get()) & PteFlags::RW.bits(), 0);
                    assert!(has_allowed_bits(new, Level::L1, false));
                }
                if compare(old, new) == Change::Access {
                    assert_eq!(old.frame(), new.frame());
                    assert!(has_allowed_bits(new, Level::L1, false));
                }
            }
        }
    }
}
