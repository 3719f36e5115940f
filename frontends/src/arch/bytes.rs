//! Memory that somebody else may write: own pages on a ring, foreign mappings.
//!
//! No reference into such memory is ever made. Bytes are copied in and out, and
//! words are accessed as atomics, so a hostile peer can change values but not
//! break this program.

use alloc::vec::Vec;
use core::{
    fmt,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
};

use guest_abi::zerocopy::FromBytes;

/// The pointer to an address of the kernel's address space.
#[expect(
    clippy::cast_possible_truncation,
    reason = "addresses have 64 bits on this machine"
)]
pub(super) fn pointer<T>(address: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(address as usize)
}

/// A range of shared memory.
pub struct SharedBytes {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: all access is by copies and atomics, from whatever CPU.
unsafe impl Send for SharedBytes {}
// SAFETY: as above.
unsafe impl Sync for SharedBytes {}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({:p}, {} bytes)", self.base, self.len)
    }
}

impl SharedBytes {
    /// The `len` bytes at `base`.
    ///
    /// # Safety
    ///
    /// 1. They are mapped readable and writable (or nobody calls a writing
    ///    method) for as long as this lives, and `base` is page aligned.
    /// 2. No Rust reference to them exists meanwhile.
    pub(crate) unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    /// A page of zeros for tests; it stays for ever.
    #[cfg(test)]
    pub(crate) fn fake() -> Self {
        #[repr(C, align(4096))]
        struct Fake([u8; 4096]);

        let page = alloc::boxed::Box::leak(alloc::boxed::Box::new(Fake([0; 4096])));
        // SAFETY: the page is leaked, aligned, and this is the only handle on it.
        unsafe { Self::new(NonNull::from(&mut page.0).cast(), 4096) }
    }

    /// The same, of several pages.
    #[cfg(test)]
    pub(crate) fn fake_row(pages: usize) -> Self {
        let layout = alloc::alloc::Layout::from_size_align(pages * 4096, 4096).unwrap();
        // SAFETY: nobody asks for no pages.
        let base = unsafe { alloc::alloc::alloc_zeroed(layout) };
        // SAFETY: as above: never freed, aligned, and the only handle.
        unsafe { Self::new(NonNull::new(base).unwrap(), pages * 4096) }
    }

    /// The address of the first byte.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    /// How many bytes there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The place of `len` bytes at `offset`.
    ///
    /// # Panics
    ///
    /// If they do not lie within the range: offsets are the program's own.
    #[inline]
    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        let end = offset.checked_add(len).expect("an offset wraps around");
        assert!(
            end <= self.len,
            "{offset}+{len} lies beyond {} shared bytes",
            self.len
        );
        self.base.as_ptr().wrapping_add(offset)
    }

    /// Copies bytes out.
    #[inline]
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        // SAFETY: `at` has checked the source, and `to` is exclusive, so the two do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    }

    /// Copies a value out.
    #[inline]
    #[must_use]
    pub fn load<T: FromBytes>(&self, offset: usize) -> T {
        let from = self.at(offset, size_of::<T>()).cast::<T>();
        // SAFETY: `at` has checked the source, and all bytes make a `T`, whoever wrote them.
        unsafe { from.read_unaligned() }
    }

    /// Copies bytes out, to the end of a list.
    pub fn append_to(&self, offset: usize, len: usize, to: &mut Vec<u8>) {
        let from = self.at(offset, len);
        to.reserve(len);
        let end = to.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: `at` has checked the source; there is room for as many bytes, which nobody uses.
        unsafe { core::ptr::copy_nonoverlapping(from, end, len) };
        let len = to.len() + len;
        // SAFETY: those bytes have just been written.
        unsafe { to.set_len(len) };
    }

    /// Copies bytes in.
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) {
        let to = self.at(offset, from.len());
        // SAFETY: `at` has checked the destination; no reference to it exists.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    }

    /// Copies bytes to another place, which does not overlap with theirs.
    pub(crate) fn copy_within(&self, from: usize, len: usize, to: usize) {
        assert!(from.abs_diff(to) >= len, "{len} bytes overlap");
        let (from, to) = (self.at(from, len), self.at(to, len));
        // SAFETY: `at` has checked both; they do not overlap, and no reference to them exists.
        unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
    }

    /// Fills `len` bytes with `value`.
    pub fn fill(&self, offset: usize, len: usize, value: u8) {
        let to = self.at(offset, len);
        // SAFETY: `at` has checked the destination; no reference to it exists.
        unsafe { core::ptr::write_bytes(to, value, len) };
    }

    /// Clears the byte at `offset`; whether it was set.
    #[must_use]
    pub fn take_byte(&self, offset: usize) -> bool {
        self.word::<AtomicU8>(offset).swap(0, Ordering::AcqRel) != 0
    }

    /// Sets the byte at `offset`.
    pub fn set_byte(&self, offset: usize, value: u8) {
        self.word::<AtomicU8>(offset)
            .store(value, Ordering::Release);
    }

    /// The 16-bit word at `offset`.
    #[must_use]
    pub fn u16(&self, offset: usize) -> &AtomicU16 {
        self.word(offset)
    }

    /// The 32-bit word at `offset`.
    #[must_use]
    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        self.word(offset)
    }

    /// The 64-bit word at `offset`.
    #[must_use]
    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        self.word(offset)
    }

    /// The atomic at `offset`, which must be aligned for it.
    #[inline]
    fn word<A>(&self, offset: usize) -> &A {
        assert!(
            offset.is_multiple_of(align_of::<A>()),
            "offset {offset} is not aligned"
        );
        let word = self.at(offset, size_of::<A>()).cast::<A>();
        // SAFETY: in range and aligned (the base is page aligned); atomics may be
        // written by others at any time.
        unsafe { &*word }
    }
}
