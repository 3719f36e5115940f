//! The page tables of a [`Layout`], entry by entry.
//!
//! Whoever builds a domain walks [`Layout::tables`], and for each table its entries: index, pfn
//! and flags. Only the translation of pfns to machine frames is left to do.

use super::{Layout, Region};
use crate::frame::{GuestVirtAddr, PAGE_SHIFT, Pfn};
use crate::mmu::{ENTRIES_PER_TABLE, PteFlags};

/// Bits of an address that one level translates.
const LEVEL_BITS: u32 = ENTRIES_PER_TABLE.ilog2();

/// Entries that lead to further tables are as open as can be; the last level decides.
const UPPER: PteFlags = PteFlags::PRESENT
    .union(PteFlags::RW)
    .union(PteFlags::ACCESSED)
    .union(PteFlags::DIRTY)
    .union(PteFlags::USER);

/// A linear run of addresses, and the tables below the root that map it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first address.
    pub base: GuestVirtAddr,
    /// The last address.
    pub last: GuestVirtAddr,
    /// The page mapped at the first address.
    pub first: Pfn,
    /// The third-level tables.
    pub l3: Region,
    /// The second-level tables.
    pub l2: Region,
    /// The first-level tables.
    pub l1: Region,
}

impl Mapping {
    /// A mapping that knows how many tables it needs, but not where they are.
    pub(super) const fn counted(base: GuestVirtAddr, last: GuestVirtAddr, first: Pfn) -> Self {
        let mut mapping = Self {
            base,
            last,
            first,
            l3: Region {
                first: Pfn::new(0),
                pages: 0,
            },
            l2: Region {
                first: Pfn::new(0),
                pages: 0,
            },
            l1: Region {
                first: Pfn::new(0),
                pages: 0,
            },
        };
        mapping.l3.pages = mapping.units(3);
        mapping.l2.pages = mapping.units(2);
        mapping.l1.pages = mapping.units(1);
        mapping
    }

    /// Pages mapped.
    pub const fn pages(&self) -> u64 {
        self.units(0)
    }

    /// All tables; they follow each other, upper levels first.
    pub const fn tables(&self) -> Region {
        Region {
            first: self.l3.first,
            pages: self.l3.pages + self.l2.pages + self.l1.pages,
        }
    }

    /// Whether both mappings hang under one entry of the root.
    pub(super) const fn shares_top_entry(&self, other: &Self) -> bool {
        self.unit_of_base(3) <= other.unit_of_last(3)
            && other.unit_of_base(3) <= self.unit_of_last(3)
    }

    /// The number of the `level` unit (what one table of that level maps; a page for level 0)
    /// that holds the first address.
    const fn unit_of_base(&self, level: u32) -> u64 {
        self.base.get() >> (PAGE_SHIFT + LEVEL_BITS * level)
    }

    const fn unit_of_last(&self, level: u32) -> u64 {
        self.last.get() >> (PAGE_SHIFT + LEVEL_BITS * level)
    }

    const fn units(&self, level: u32) -> u64 {
        self.unit_of_last(level) - self.unit_of_base(level) + 1
    }

    /// What the first unit of a level is: a table, or at level 0 the first page.
    const fn first_of(&self, level: u32) -> Pfn {
        match level {
            0 => self.first,
            1 => self.l1.first,
            2 => self.l2.first,
            _ => self.l3.first,
        }
    }

    /// The entries of the `number`th table of `level`: index, and the page it leads to.
    fn entries(self, level: u32, number: u64) -> impl Iterator<Item = (usize, Pfn)> {
        let below = level - 1;
        let (first, last) = (self.unit_of_base(below), self.unit_of_last(below));
        // The root holds every unit there is, a lower table just those of its own unit.
        let (from, to) = if level == 4 {
            (first, last)
        } else {
            let start = (self.unit_of_base(level) + number) << LEVEL_BITS;
            (
                start.max(first),
                last.min(start + (ENTRIES_PER_TABLE as u64 - 1)),
            )
        };
        (from..=to).map(move |unit| {
            let target = Pfn::new(self.first_of(below).get() + (unit - first));
            (index_of(unit), target)
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "masked to nine bits")]
const fn index_of(unit: u64) -> usize {
    (unit & (ENTRIES_PER_TABLE as u64 - 1)) as usize
}

/// One page table of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// The page it lies in.
    pub pfn: Pfn,
    /// 4 for the root, 1 for those that map pages.
    pub level: u32,
    layout: &'a Layout,
    mapping: Option<Mapping>,
    number: u64,
}

/// One present entry of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which of the table's 512.
    pub index: usize,
    /// The page it leads to.
    pub target: Pfn,
    /// Its flags.
    pub flags: PteFlags,
}

impl Layout {
    /// All page tables: the root, the linear mapping's by level, then the p2m list's.
    pub fn tables(&self) -> impl Iterator<Item = Table<'_>> {
        let root = Table {
            pfn: self.root,
            level: 4,
            layout: self,
            mapping: None,
            number: 0,
        };
        let below = self.mappings().flat_map(move |mapping| {
            [(3, mapping.l3), (2, mapping.l2), (1, mapping.l1)]
                .into_iter()
                .flat_map(move |(level, region)| {
                    (0..).zip(region.iter()).map(move |(number, pfn)| Table {
                        pfn,
                        level,
                        layout: self,
                        mapping: Some(mapping),
                        number,
                    })
                })
        });
        core::iter::once(root).chain(below)
    }

    fn mappings(&self) -> impl Iterator<Item = Mapping> + use<> {
        [Some(self.main), self.p2m].into_iter().flatten()
    }

    fn page_flags(&self, pfn: Pfn) -> PteFlags {
        let flags = PteFlags::PRESENT | PteFlags::ACCESSED;
        if self.is_page_table(pfn) {
            flags
        } else {
            flags | PteFlags::RW
        }
    }
}

impl<'a> Table<'a> {
    /// The present entries, in ascending order within each mapping.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let (level, number, layout) = (self.level, self.number, self.layout);
        let own = self.mapping;
        let all = own
            .is_none()
            .then(|| layout.mappings())
            .into_iter()
            .flatten();
        own.into_iter().chain(all).flat_map(move |mapping| {
            mapping
                .entries(level, number)
                .map(move |(index, target)| Entry {
                    index,
                    target,
                    flags: if level == 1 {
                        layout.page_flags(target)
                    } else {
                        UPPER
                    },
                })
        })
    }
}
