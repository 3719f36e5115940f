//! The planner: hands out pfns in order and lets the page tables count themselves.

use super::tables::Mapping;
use super::{Layout, LayoutError, Region, Request};
use crate::frame::{GuestVirtAddr, PAGE_SHIFT, PAGE_SIZE, Pfn};
use crate::mmu::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};

/// Mapped room every kernel finds behind the boot stack.
const TAIL_BYTES: u64 = 512 << 10;
/// The linear mapping ends at a multiple of this.
const END_ALIGNMENT: u64 = 4 << 20;
/// More pages than any domain has; keeps all sums far from overflow.
const MAX_PAGES: u64 = 1 << 36;
/// Entries of the p2m list in a page.
const P2M_PER_PAGE: u64 = PAGE_SIZE as u64 / 8;

/// Plans a domain's memory.
///
/// # Errors
///
/// A [`LayoutError`] says what does not fit.
pub fn plan(request: &Request) -> Result<Layout, LayoutError> {
    check(request)?;
    let layout = place(request)?;
    let available = request.nr_pages;
    if layout.end.get() <= available {
        return Ok(layout);
    }

    // A larger domain has a longer p2m list, so the answer is found by asking again.
    let mut needed = layout.end.get();
    loop {
        let end = place(&Request {
            nr_pages: needed,
            ..*request
        })?
        .end
        .get();
        if end <= needed {
            return Err(LayoutError::TooSmall { needed, available });
        }
        needed = end;
    }
}

fn check(request: &Request) -> Result<(), LayoutError> {
    for address in [Some(request.virt_base), request.init_p2m]
        .into_iter()
        .flatten()
    {
        if address.page_offset() != 0 {
            return Err(LayoutError::Unaligned(address));
        }
    }
    if request.kernel_start >= request.kernel_end {
        return Err(LayoutError::EmptyKernel);
    }
    let ramdisk = request.ramdisk.map_or(0, |ramdisk| ramdisk.len);
    if [request.kernel_end, ramdisk]
        .iter()
        .any(|bytes| bytes >> PAGE_SHIFT >= MAX_PAGES)
        || request.nr_pages > MAX_PAGES
    {
        return Err(LayoutError::TooLarge);
    }
    Ok(())
}

fn place(request: &Request) -> Result<Layout, LayoutError> {
    let kernel_first = Pfn::containing(request.kernel_start);
    let kernel_pages = pages_for(request.kernel_end) - kernel_first.get();
    let list_pages = request.nr_pages.div_ceil(P2M_PER_PAGE);
    let (early_disk, late_disk) = match request.ramdisk {
        Some(ramdisk) if ramdisk.mapped => (Some(pages_for(ramdisk.len)), None),
        Some(ramdisk) => (None, Some(pages_for(ramdisk.len))),
        None => (None, None),
    };

    let mut cursor = Cursor(kernel_first);
    let kernel = cursor.take(kernel_pages);
    let early_disk = early_disk.map(|pages| cursor.take(pages));
    let early_list = request.init_p2m.is_none().then(|| cursor.take(list_pages));
    let start_info = cursor.take(1).first;
    let xenstore = request.ring_pages.then(|| cursor.take(1).first);
    let console = request.ring_pages.then(|| cursor.take(1).first);
    let (root, main) = place_main_tables(&mut cursor, request.virt_base)?;
    let boot_stack = cursor.take(1).first;

    cursor = Cursor(Pfn::new(main.pages()));
    let late_disk = late_disk.map(|pages| cursor.take(pages));
    let (p2m_list, p2m) = match (early_list, request.init_p2m) {
        (None, Some(address)) => {
            let list = cursor.take(list_pages);
            let mapping = place_p2m_tables(&mut cursor, list, address)?;
            if main.shares_top_entry(&mapping) {
                return Err(LayoutError::P2mOverlapsKernel);
            }
            (list, Some(mapping))
        }
        (list, _) => (list.unwrap_or_default(), None),
    };

    Ok(Layout {
        request: *request,
        kernel,
        ramdisk: early_disk.or(late_disk),
        p2m_list,
        start_info,
        xenstore,
        console,
        root,
        boot_stack,
        main,
        p2m,
        end: cursor.0,
    })
}

/// Places the root and the tables below it, which must map themselves as well.
fn place_main_tables(
    cursor: &mut Cursor,
    base: GuestVirtAddr,
) -> Result<(Pfn, Mapping), LayoutError> {
    let root = cursor.take(1).first;
    let first_table = cursor.0;
    let mut tables = 0;
    loop {
        // One more page for the boot stack, which lies behind the tables.
        let used = (first_table.get() + tables + 1) << PAGE_SHIFT;
        let pages = pages_with_tail(base, used)?;
        let mapping = mapping(base, Pfn::new(0), pages)?;
        let count = mapping.tables().pages;
        if count <= tables {
            return Ok((root, assign(cursor, mapping)));
        }
        tables = count;
    }
}

fn place_p2m_tables(
    cursor: &mut Cursor,
    list: Region,
    address: GuestVirtAddr,
) -> Result<Mapping, LayoutError> {
    let mapping = mapping(address, list.first, list.pages)?;
    Ok(assign(cursor, mapping))
}

/// A mapping whose tables are counted but have no place yet.
fn mapping(base: GuestVirtAddr, first: Pfn, pages: u64) -> Result<Mapping, LayoutError> {
    let refused = LayoutError::AddressSpace(base);
    let bytes = pages.checked_mul(PAGE_SIZE as u64).ok_or(refused)?;
    let last = bytes
        .checked_sub(1)
        .and_then(|span| base.checked_add(span))
        .ok_or(refused)?;
    let same_half =
        base.is_canonical() && last.is_canonical() && base.get() >> 63 == last.get() >> 63;
    let hypervisors = base.get() < HYPERVISOR_VIRT_END && last.get() >= HYPERVISOR_VIRT_START;
    if !same_half || hypervisors {
        return Err(refused);
    }
    Ok(Mapping::counted(base, last, first))
}

/// Gives a counted mapping's tables their pages, upper levels first.
fn assign(cursor: &mut Cursor, mut mapping: Mapping) -> Mapping {
    for level in [&mut mapping.l3, &mut mapping.l2, &mut mapping.l1] {
        *level = cursor.take(level.pages);
    }
    mapping
}

/// Pages from `base` on that hold `used` bytes and the tail behind them.
fn pages_with_tail(base: GuestVirtAddr, used: u64) -> Result<u64, LayoutError> {
    let refused = LayoutError::AddressSpace(base);
    let end = base.checked_add(used + TAIL_BYTES).ok_or(refused)?;
    // The very end of the address space counts as a multiple too, so align the distance.
    let short = end.get().wrapping_neg() & (END_ALIGNMENT - 1);
    Ok((used + TAIL_BYTES + short) >> PAGE_SHIFT)
}

const fn pages_for(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE as u64)
}

/// The next pfn to hand out.
struct Cursor(Pfn);

impl Cursor {
    fn take(&mut self, pages: u64) -> Region {
        let region = Region {
            first: self.0,
            pages,
        };
        self.0 = region.end();
        region
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
