//! Where the core's own image lies.

use core::sync::atomic::{AtomicU32, Ordering};

use guest_abi::frame::MachAddr;

use super::direct_map;
use super::paging::{self, bits};
use crate::arch::layout::IMAGE_OFFSET;
use crate::boot::phys::PhysRead;
use crate::debug::symbols;

unsafe extern "C" {
    static __image_start: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __image_end: u8;
}

static SYMBOLS_SIZE: AtomicU32 = AtomicU32::new(0);

/// The image's first address.
pub fn start() -> u64 {
    &raw const __image_start as u64
}

/// The address behind the image; the symbol table may follow.
pub fn end() -> u64 {
    &raw const __image_end as u64
}

/// The physical range of the image and its symbol table.
pub(super) fn physical_range() -> (u64, u64) {
    let end = end() - IMAGE_OFFSET;
    let symbols = u64::from(SYMBOLS_SIZE.load(Ordering::Relaxed));
    (start() - IMAGE_OFFSET, end + symbols)
}

/// Looks whether a symbol table follows the image.
pub(super) fn find_symbols(memory: &impl PhysRead) {
    let header = memory.array(end() - IMAGE_OFFSET);
    let size = header.and_then(symbols::table_size).unwrap_or(0);
    SYMBOLS_SIZE.store(size, Ordering::Relaxed);
}

/// The symbol table behind the image.
pub fn symbols() -> Option<&'static [u8]> {
    let size = SYMBOLS_SIZE.load(Ordering::Relaxed) as usize;
    let first = direct_map::pointer(MachAddr::new(end() - IMAGE_OFFSET));
    // SAFETY: the range was reserved with the image, and nobody writes to it.
    (size > 0).then(|| unsafe { core::slice::from_raw_parts(first.cast_const(), size) })
}

/// Maps the image: code, read-only data, data.
pub(super) fn map() -> bool {
    let (rodata, data) = (
        &raw const __rodata_start as u64,
        &raw const __data_start as u64,
    );
    let parts = [
        (start(), rodata, bits::CODE),
        (rodata, data, bits::RODATA),
        (data, end(), bits::DATA),
    ];
    parts
        .iter()
        .all(|&(from, to, flags)| paging::map_range(from, from - IMAGE_OFFSET, to - from, flags))
}
