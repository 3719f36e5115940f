//! Where everything lies in a guest's memory when it starts: a pure plan.
//!
//! The core plans for dom0 with it, and dom0's builder for every other domain. From a kernel's
//! wishes and the domain's size, [`plan`] decides which pfn holds what; the page tables that map
//! it are then read off the [`Layout`] entry by entry (see [`tables`]).
//!
//! ```text
//! pfn 0        kernel                                     boot stack    end of the mapping
//! |  unused  |  kernel | ramdisk? | p2m? | start info,  | page   | stack | >= 512 KiB | ramdisk? | p2m list, its
//! |  (mapped)|         |          |      | ring pages   | tables |       | of tail    | unmapped | page tables
//! ```
//!
//! The first mapping is linear: `virt_base + pfn * 4096`, up to a multiple of 4 MiB that leaves at
//! least 512 KiB behind the last item, because kernels allocate there before they have an
//! allocator. A kernel that names an `INIT_P2M` address gets its p2m list there, under tables of
//! their own; for others the list lies in the first mapping.

mod plan;
pub mod tables;

pub use plan::plan;
use tables::Mapping;

use crate::frame::{GuestVirtAddr, PAGE_SHIFT, PAGE_SIZE, Pfn};
use crate::start_info::{StartFlags, StartInfo};

/// What the plan is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The address that maps pfn 0: the `VIRT_BASE` note, 0 without one.
    pub virt_base: GuestVirtAddr,
    /// The kernel's lowest pseudo-physical address, `PADDR_OFFSET` taken off.
    pub kernel_start: u64,
    /// The first pseudo-physical address above the kernel.
    pub kernel_end: u64,
    /// Where the kernel wants its p2m list, if it says so.
    pub init_p2m: Option<GuestVirtAddr>,
    /// Pages of the domain.
    pub nr_pages: u64,
    /// The ramdisk, if there is one.
    pub ramdisk: Option<Ramdisk>,
    /// Whether to reserve a xenstore and a console page (every domain but dom0).
    pub ring_pages: bool,
}

/// A ramdisk to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramdisk {
    /// Its bytes.
    pub len: u64,
    /// Whether it must be mapped: no, if the kernel has the `MOD_START_PFN` note.
    pub mapped: bool,
}

/// A run of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// The first one.
    pub first: Pfn,
    /// How many.
    pub pages: u64,
}

impl Region {
    /// The first pfn above the run.
    pub const fn end(&self) -> Pfn {
        Pfn::new(self.first.get().saturating_add(self.pages))
    }

    /// Whether a pfn is one of them.
    pub const fn contains(&self, pfn: Pfn) -> bool {
        pfn.get() >= self.first.get() && pfn.get() < self.end().get()
    }

    /// The pages, one by one.
    pub fn iter(&self) -> impl Iterator<Item = Pfn> + use<> {
        (self.first.get()..self.end().get()).map(Pfn::new)
    }
}

/// The plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What it was made from.
    pub request: Request,
    /// The kernel's pages, from its lowest to its highest address.
    pub kernel: Region,
    /// The ramdisk's pages.
    pub ramdisk: Option<Region>,
    /// The p2m list's pages, without its tables.
    pub p2m_list: Region,
    /// The start-info page.
    pub start_info: Pfn,
    /// The xenstore page.
    pub xenstore: Option<Pfn>,
    /// The console page.
    pub console: Option<Pfn>,
    /// The top-level page table; the first mapping's other tables follow it, level by level.
    pub root: Pfn,
    /// The page below which the first stack grows.
    pub boot_stack: Pfn,
    /// The linear mapping.
    pub main: Mapping,
    /// The p2m list's mapping, if it has one of its own.
    pub p2m: Option<Mapping>,
    /// The first pfn without a purpose: as many pages are needed at least.
    pub end: Pfn,
}

impl Layout {
    /// The address of a page in the linear mapping; it is meaningless for pages outside of it.
    pub const fn address_of(&self, pfn: Pfn) -> GuestVirtAddr {
        GuestVirtAddr::new(
            self.request
                .virt_base
                .get()
                .wrapping_add(pfn.get() << PAGE_SHIFT),
        )
    }

    /// The first stack pointer.
    pub const fn stack_top(&self) -> GuestVirtAddr {
        let page = self.address_of(self.boot_stack);
        GuestVirtAddr::new(page.get().wrapping_add(PAGE_SIZE as u64))
    }

    /// Pages of the linear mapping.
    pub const fn mapped_pages(&self) -> u64 {
        self.main.pages()
    }

    /// The linear mapping's page tables, root included.
    pub const fn page_tables(&self) -> Region {
        let below = self.main.l3.pages + self.main.l2.pages + self.main.l1.pages;
        Region {
            first: self.root,
            pages: below + 1,
        }
    }

    /// The address of the p2m list.
    pub const fn p2m_address(&self) -> GuestVirtAddr {
        match self.request.init_p2m {
            Some(address) => address,
            None => self.address_of(self.p2m_list.first),
        }
    }

    /// The p2m list together with its tables, if it has a mapping of its own.
    pub fn p2m_frames(&self) -> Option<Region> {
        let tables = self.p2m?.tables();
        Some(Region {
            first: self.p2m_list.first,
            pages: self.p2m_list.pages + tables.pages,
        })
    }

    /// Whether a page holds a page table, and so must not be mapped writable.
    pub fn is_page_table(&self, pfn: Pfn) -> bool {
        self.page_tables().contains(pfn)
            || self
                .p2m
                .is_some_and(|mapping| mapping.tables().contains(pfn))
    }

    /// Fills in what the plan knows of a start-info page: all but frames, ports and command line.
    pub fn describe(&self, info: &mut StartInfo) {
        info.nr_pages = self.request.nr_pages;
        info.pt_base = self.address_of(self.root);
        info.nr_pt_frames = self.page_tables().pages;
        info.mfn_list = self.p2m_address();
        if let Some(frames) = self.p2m_frames() {
            info.first_p2m_pfn = frames.first;
            info.nr_p2m_frames = frames.pages;
        }
        if let (Some(region), Some(ramdisk)) = (self.ramdisk, self.request.ramdisk) {
            info.mod_len = ramdisk.len;
            info.mod_start = if ramdisk.mapped {
                self.address_of(region.first).get()
            } else {
                info.flags |= StartFlags::MOD_START_PFN.bits();
                region.first.get()
            };
        }
    }
}

/// Why there is no such layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// The base or the p2m address is not the start of a page.
    Unaligned(GuestVirtAddr),
    /// The kernel ends before it begins.
    EmptyKernel,
    /// A mapping would leave the guest's part of the address space.
    AddressSpace(GuestVirtAddr),
    /// The p2m list and the kernel want the same top-level entry.
    P2mOverlapsKernel,
    /// No domain is that large.
    TooLarge,
    /// The domain is too small.
    TooSmall {
        /// Pages it would need.
        needed: u64,
        /// Pages it has.
        available: u64,
    },
}

impl core::fmt::Display for LayoutError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unaligned(address) => write!(f, "address {address} is not page aligned"),
            Self::EmptyKernel => f.write_str("the kernel has no loadable bytes"),
            Self::AddressSpace(address) => {
                write!(
                    f,
                    "the mapping at {address} leaves the guest's address space"
                )
            }
            Self::P2mOverlapsKernel => f.write_str("the p2m list's address is in the kernel's way"),
            Self::TooLarge => f.write_str("sizes beyond any domain"),
            Self::TooSmall { needed, available } => {
                let mib = |pages: u64| pages.div_ceil(256);
                write!(
                    f,
                    "needs at least {} MiB of memory, has {}",
                    mib(*needed),
                    mib(*available)
                )
            }
        }
    }
}

impl core::error::Error for LayoutError {}
