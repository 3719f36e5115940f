//! Pages that guest and core read and write at the same time, one atomic word at a time.
//!
//! The core reaches such a page through the direct map; the guest through mappings of its own.
//! Neither side ever holds a plain reference to its bytes.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use guest_abi::PAGE_SIZE;
use guest_abi::frame::Mfn;

/// A frame of RAM that a guest and the core share.
///
/// Whoever makes one holds the frame (owns it, or has a reference to it) for as long as the value
/// lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedPage {
    mfn: Mfn,
}

impl SharedPage {
    /// The page in frame `mfn`, which must be RAM.
    pub const fn new(mfn: Mfn) -> Self {
        Self { mfn }
    }

    /// The frame.
    pub const fn mfn(self) -> Mfn {
        self.mfn
    }

    /// The byte at `offset` (modulo the page).
    pub fn atomic_u8(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: `at` yields an address within a frame of mapped RAM that the maker of `self`
        // keeps alive; all accesses by core and guest are atomic.
        unsafe { AtomicU8::from_ptr(self.at(offset, 1)) }
    }

    /// The aligned 32-bit word that holds the byte at `offset` (modulo the page).
    pub fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as for `atomic_u8`; `at` aligns to the size asked for.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    /// The aligned 64-bit word that holds the byte at `offset` (modulo the page).
    pub fn atomic_u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as for `atomic_u8`; `at` aligns to the size asked for.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8).cast()) }
    }

    /// The address of the aligned `size` bytes (a power of two) around `offset`.
    fn at(self, offset: usize, size: usize) -> *mut u8 {
        let offset = (offset % PAGE_SIZE) & !(size - 1);
        super::frame_address(self.mfn).wrapping_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::SharedPage;
    use core::sync::atomic::Ordering::SeqCst;
    use guest_abi::frame::Mfn;

    #[test]
    fn views_of_different_width_show_the_same_bytes() {
        let page = SharedPage::new(Mfn::new(0xabcd_0001));
        page.atomic_u64(4088).store(0x0102_0304_0506_0708, SeqCst);
        assert_eq!(page.atomic_u8(4095).load(SeqCst), 1);
        assert_eq!(page.atomic_u32(4092).load(SeqCst), 0x0102_0304);
        assert_eq!(
            page.atomic_u64(2 * 4096 - 1).load(SeqCst),
            0x0102_0304_0506_0708
        );
    }
}
