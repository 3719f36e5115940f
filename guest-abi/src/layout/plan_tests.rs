//! The plan, against the layout that Xen's own tools make and against itself.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::super::{Layout, LayoutError, Ramdisk, Region, Request};
use super::plan;
use crate::frame::{GuestVirtAddr, Pfn};
use crate::mmu::{ENTRIES_PER_TABLE, PteFlags};
use crate::start_info::{StartFlags, StartInfo};

const MIB: u64 = 1 << 20;

/// Debian's kernel in a domain of 192 MiB, as `xl` was seen to place it.
fn debian() -> Request {
    Request {
        virt_base: GuestVirtAddr::new(0xffff_ffff_8000_0000),
        kernel_start: 0x100_0000,
        kernel_end: 0x4a0_0000,
        init_p2m: Some(GuestVirtAddr::new(0x80_0000_0000)),
        nr_pages: 192 * MIB / 4096,
        ramdisk: Some(Ramdisk {
            len: 0x213 << 12,
            mapped: false,
        }),
        ring_pages: true,
    }
}

/// Walks the tables as the CPU would.
fn walk(layout: &Layout, address: GuestVirtAddr) -> Option<(Pfn, PteFlags)> {
    let tables: BTreeMap<Pfn, Vec<_>> = layout
        .tables()
        .map(|table| (table.pfn, table.entries().collect()))
        .collect();
    let mut table = layout.root;
    for level in [4, 3, 2, 1] {
        let index = address.table_index(level);
        let entry = tables[&table].iter().find(|entry| entry.index == index)?;
        if level == 1 {
            return Some((entry.target, entry.flags));
        }
        table = entry.target;
    }
    None
}

#[test]
fn debian_is_placed_as_xl_places_it() {
    let layout = plan(&debian()).unwrap();
    let pfn = Pfn::new;
    assert_eq!(
        layout.kernel,
        Region {
            first: pfn(0x1000),
            pages: 0x3a00
        }
    );
    assert_eq!(layout.start_info, pfn(0x4a00));
    assert_eq!(layout.xenstore, Some(pfn(0x4a01)));
    assert_eq!(layout.console, Some(pfn(0x4a02)));
    assert_eq!(
        layout.page_tables(),
        Region {
            first: pfn(0x4a03),
            pages: 41
        }
    );
    assert_eq!(layout.main.l1.pages, 38);
    assert_eq!(layout.boot_stack, pfn(0x4a2c));
    assert_eq!(
        layout.stack_top(),
        GuestVirtAddr::new(0xffff_ffff_84a2_d000)
    );
    assert_eq!(layout.mapped_pages(), 0x4c00);
    assert_eq!(
        layout.ramdisk,
        Some(Region {
            first: pfn(0x4c00),
            pages: 0x213
        })
    );
    assert_eq!(
        layout.p2m_list,
        Region {
            first: pfn(0x4e13),
            pages: 96
        }
    );
    assert_eq!(
        layout.p2m_frames(),
        Some(Region {
            first: pfn(0x4e13),
            pages: 0x63
        })
    );
}

#[test]
fn the_start_info_page_tells_the_plan() {
    let mut info = StartInfo::new();
    plan(&debian()).unwrap().describe(&mut info);
    assert_eq!(info.pt_base, GuestVirtAddr::new(0xffff_ffff_84a0_3000));
    assert_eq!(info.nr_pt_frames, 41);
    assert_eq!(info.mfn_list, GuestVirtAddr::new(0x80_0000_0000));
    assert_eq!(
        (info.first_p2m_pfn, info.nr_p2m_frames),
        (Pfn::new(0x4e13), 0x63)
    );
    assert_eq!((info.mod_start, info.mod_len), (0x4c00, 0x213 << 12));
    assert!(info.flags().contains(StartFlags::MOD_START_PFN));
}

#[test]
fn every_page_of_the_linear_mapping_is_mapped_at_its_address() {
    let layout = plan(&debian()).unwrap();
    for pfn in [0, 0x1000, 0x4a00, 0x4a2c, 0x4bff].map(Pfn::new) {
        let (target, flags) = walk(&layout, layout.address_of(pfn)).unwrap();
        assert_eq!(target, pfn);
        assert_eq!(flags, PteFlags::PRESENT | PteFlags::RW | PteFlags::ACCESSED);
    }
    assert_eq!(walk(&layout, layout.address_of(Pfn::new(0x4c00))), None);
}

#[test]
fn no_page_table_is_mapped_writable() {
    for init_p2m in [debian().init_p2m, None] {
        let layout = plan(&Request {
            init_p2m,
            ..debian()
        })
        .unwrap();
        let tables: Vec<_> = layout.tables().collect();
        let pages = tables
            .iter()
            .filter(|table| table.level == 1)
            .flat_map(|table| table.entries());
        for entry in pages {
            let is_table = tables.iter().any(|table| table.pfn == entry.target);
            assert_eq!(entry.flags.contains(PteFlags::RW), !is_table, "{entry:?}");
            assert!(
                !entry
                    .flags
                    .intersects(PteFlags::USER | PteFlags::NX | PteFlags::GLOBAL)
            );
        }
    }
}

#[test]
fn the_p2m_list_is_mapped_where_the_kernel_wants_it() {
    let layout = plan(&debian()).unwrap();
    let base = debian().init_p2m.unwrap();
    let last = base.checked_add(95 << 12).unwrap();
    assert_eq!(walk(&layout, base).unwrap().0, Pfn::new(0x4e13));
    assert_eq!(walk(&layout, last).unwrap().0, Pfn::new(0x4e13 + 95));
    assert_eq!(walk(&layout, last.checked_add(4096).unwrap()), None);
}

#[test]
fn without_a_wish_the_p2m_list_lies_in_the_linear_mapping() {
    let layout = plan(&Request {
        init_p2m: None,
        ..debian()
    })
    .unwrap();
    assert_eq!(layout.p2m_frames(), None);
    assert_eq!(
        walk(&layout, layout.p2m_address()).unwrap().0,
        layout.p2m_list.first
    );
    assert!(layout.p2m_list.end().get() < layout.mapped_pages());
}

#[test]
fn a_mapped_ramdisk_lies_behind_the_kernel() {
    let ramdisk = Some(Ramdisk {
        len: 5000,
        mapped: true,
    });
    let layout = plan(&Request {
        ramdisk,
        ..debian()
    })
    .unwrap();
    let region = layout.ramdisk.unwrap();
    assert_eq!(
        region,
        Region {
            first: layout.kernel.end(),
            pages: 2
        }
    );
    let mut info = StartInfo::new();
    layout.describe(&mut info);
    assert_eq!(info.mod_start, layout.address_of(region.first).get());
    assert!(!info.flags().contains(StartFlags::MOD_START_PFN));
}

#[test]
fn base_zero_is_as_good_as_any() {
    let small = Request {
        virt_base: GuestVirtAddr::new(0),
        kernel_start: 0x10_0000,
        kernel_end: 0x18_0001,
        init_p2m: None,
        nr_pages: 8 * MIB / 4096,
        ramdisk: None,
        ring_pages: false,
    };
    let layout = plan(&small).unwrap();
    assert_eq!(layout.kernel.pages, 0x81);
    assert_eq!((layout.xenstore, layout.console), (None, None));
    assert_eq!(
        walk(&layout, layout.address_of(layout.start_info))
            .unwrap()
            .0,
        layout.start_info
    );
}

#[test]
fn the_tail_is_half_a_mebibyte_and_ends_on_four() {
    for extra in (0..5 * MIB).step_by(0x5_5000) {
        let request = Request {
            kernel_end: 0x4a0_0000 + extra,
            ..debian()
        };
        let layout = plan(&request).unwrap();
        let end = layout.mapped_pages() << 12;
        let used = layout.stack_top().get() - request.virt_base.get();
        assert_eq!(end % (4 * MIB), 0);
        assert!(end - used >= 512 << 10);
        assert_eq!(layout.main.l1.pages, end / (2 * MIB));
    }
}

#[test]
fn a_domain_that_is_too_small_is_told_how_much_it_needs() {
    let request = Request {
        nr_pages: 10,
        ..debian()
    };
    let Err(LayoutError::TooSmall {
        needed,
        available: 10,
    }) = plan(&request)
    else {
        panic!("ten pages were enough");
    };
    assert!(
        plan(&Request {
            nr_pages: needed,
            ..request
        })
        .is_ok()
    );
    assert!(
        plan(&Request {
            nr_pages: needed - 1,
            ..request
        })
        .is_err()
    );
}

#[test]
fn wishes_outside_the_guests_address_space_are_refused() {
    let at = |virt_base| {
        plan(&Request {
            virt_base: GuestVirtAddr::new(virt_base),
            ..debian()
        })
    };
    assert!(matches!(
        at(0xffff_8000_0000_0000),
        Err(LayoutError::AddressSpace(_))
    ));
    assert!(matches!(
        at(0x8000_0000_0000),
        Err(LayoutError::AddressSpace(_))
    ));
    assert!(matches!(
        at(0x7fff_ff00_0000),
        Err(LayoutError::AddressSpace(_))
    ));
    assert!(matches!(
        at(0xffff_ffff_ff00_0000),
        Err(LayoutError::AddressSpace(_))
    ));
    assert!(matches!(at(0x123), Err(LayoutError::Unaligned(_))));
    assert_eq!(at(0x80_0000_0000), Err(LayoutError::P2mOverlapsKernel));
}

#[test]
fn absurd_sizes_are_refused() {
    for request in [
        Request {
            nr_pages: u64::MAX,
            ..debian()
        },
        Request {
            kernel_end: u64::MAX,
            ..debian()
        },
        Request {
            ramdisk: Some(Ramdisk {
                len: u64::MAX,
                mapped: false,
            }),
            ..debian()
        },
    ] {
        assert_eq!(plan(&request), Err(LayoutError::TooLarge));
    }
    let backwards = Request {
        kernel_end: 0x1000,
        ..debian()
    };
    assert_eq!(plan(&backwards), Err(LayoutError::EmptyKernel));
}

#[test]
fn indices_are_unique_within_a_table() {
    let layout = plan(&debian()).unwrap();
    for table in layout.tables() {
        let mut indices: Vec<_> = table.entries().map(|entry| entry.index).collect();
        indices.sort_unstable();
        assert!(indices.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(indices.iter().all(|&index| index < ENTRIES_PER_TABLE));
    }
}
