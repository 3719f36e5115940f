//! Frames, reached through the direct map.
//!
//! All of RAM is mapped at [`DIRECT_MAP_BASE`]. What is reached through these functions are frames
//! that hold no Rust object: page tables, guests' memory, tables shared with guests. Other CPUs
//! and guests write the same bytes at the same time, so words are read and written as atomics and
//! bulk is copied as raw bytes. A frame number beyond RAM is the caller's bug; callers get theirs
//! from the frame table, which knows RAM only.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use guest_abi::frame::{MachAddr, Mfn, PAGE_SIZE};

use crate::arch::layout::{DIRECT_MAP_BASE, DIRECT_MAP_LIMIT};
use crate::boot::phys::PhysRead;

/// The number of entries in a page table.
pub const ENTRIES: usize = 512;

/// Where `address` is mapped.
#[inline]
pub fn pointer(address: MachAddr) -> *mut u8 {
    debug_assert!(address.get() < DIRECT_MAP_LIMIT);
    (DIRECT_MAP_BASE + address.get().min(DIRECT_MAP_LIMIT - PAGE_SIZE as u64)) as *mut u8
}

/// A frame seen as 512 words.
#[derive(Clone, Copy, Debug)]
pub struct TableView {
    words: &'static [AtomicU64; ENTRIES],
}

impl TableView {
    /// The word at `index` (taken modulo 512).
    pub fn load(self, index: usize) -> u64 {
        self.words[index % ENTRIES].load(Ordering::Acquire)
    }

    /// Sets the word at `index` (taken modulo 512).
    pub fn store(self, index: usize, value: u64) {
        self.words[index % ENTRIES].store(value, Ordering::Release);
    }

    /// Sets the word at `index` and returns what it was.
    pub fn swap(self, index: usize, value: u64) -> u64 {
        self.words[index % ENTRIES].swap(value, Ordering::AcqRel)
    }

    /// Sets the word at `index` if it is `old`.
    ///
    /// # Errors
    /// What the word is instead.
    pub fn compare_exchange(self, index: usize, old: u64, new: u64) -> Result<u64, u64> {
        self.words[index % ENTRIES].compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
    }
}

/// The frame as a table.
pub fn table(mfn: Mfn) -> TableView {
    let words = entries(mfn);
    TableView { words }
}

/// The frame as its 512 words.
pub fn entries(mfn: Mfn) -> &'static [AtomicU64; ENTRIES] {
    let words = pointer(mfn.to_maddr()).cast::<[AtomicU64; ENTRIES]>();
    // SAFETY: the direct map is there for good, the frame is page-aligned, any bits are valid, and
    // whoever else writes the frame does so with atomics or is a guest.
    unsafe { &*words }
}

/// The 64-bit word at `address` (aligned down).
pub fn word(address: MachAddr) -> &'static AtomicU64 {
    let at = MachAddr::new(address.get() & !7);
    // SAFETY: as in `table`; the address was aligned.
    unsafe { &*pointer(at).cast::<AtomicU64>() }
}

/// The 32-bit word at `address` (aligned down).
pub fn half(address: MachAddr) -> &'static AtomicU32 {
    let at = MachAddr::new(address.get() & !3);
    // SAFETY: as in `table`; the address was aligned.
    unsafe { &*pointer(at).cast::<AtomicU32>() }
}

/// Fills the frame with zeros.
///
pub fn zero_frame(mfn: Mfn) {
    set_words(entries(mfn), 0);
}

/// Plain stores, many to a round: an emulated machine executes a string instruction step by step,
/// and is faster this way; a real one does not mind.
fn set_words(words: &[AtomicU64; ENTRIES], value: u64) {
    for words in words.chunks_exact(32) {
        for word in words {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// Copies a whole frame.
pub fn copy_frame(from: Mfn, to: Mfn) {
    let (from, to) = (pointer(from.to_maddr()), pointer(to.to_maddr()));
    // SAFETY: both frames are mapped, and hold no Rust object (see the module).
    unsafe { copy_words(from, to, PAGE_SIZE / 8) };
}

/// Copies out of machine memory.
pub fn read(from: MachAddr, into: &mut [u8]) {
    // SAFETY: `from` is mapped RAM, `into` is exclusively ours.
    unsafe { copy_bytes(pointer(from), into.as_mut_ptr(), into.len()) };
}

/// Copies into machine memory.
pub fn write(to: MachAddr, from: &[u8]) {
    // SAFETY: `to` is mapped RAM that holds no Rust object (see the module).
    unsafe { copy_bytes(from.as_ptr(), pointer(to), from.len()) };
}

/// Copies `len` bytes within machine memory.
#[inline]
pub fn copy(from: MachAddr, to: MachAddr, len: usize) {
    // SAFETY: both are mapped RAM that holds no Rust object (see the module).
    unsafe { copy_bytes(pointer(from), pointer(to), len) };
}

/// Sets every word of the frames that `at..at + bytes` touches to `value`.
pub(super) fn fill(at: MachAddr, bytes: u64, value: u64) {
    let frames = at.frame().get()..(at.get() + bytes).div_ceil(PAGE_SIZE as u64);
    for mfn in frames.map(Mfn::new) {
        set_words(entries(mfn), value);
    }
}

/// Copies bytes that others may be writing: words first, then the rest.
///
/// # Safety
/// Both ranges are mapped; nobody holds a Rust reference to the bytes written.
#[inline]
unsafe fn copy_bytes(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise; the direction flag is clear in all of the core.
    unsafe {
        asm!("rep movsq", "mov rcx, {rest}", "rep movsb", rest = in(reg) len % 8,
            inout("rsi") from => _, inout("rdi") to => _, inout("rcx") len / 8 => _,
            options(nostack, preserves_flags));
    }
}

/// # Safety
/// As for [`copy_bytes`], over `words` words.
unsafe fn copy_words(from: *const u8, to: *mut u8, words: usize) {
    // SAFETY: the caller's promise; the direction flag is clear in all of the core.
    unsafe {
        asm!("rep movsq", inout("rsi") from => _, inout("rdi") to => _, inout("rcx") words => _,
            options(nostack, preserves_flags));
    }
}

/// Physical memory below a limit, for the parsers of firmware tables.
#[derive(Clone, Copy, Debug)]
pub struct Physical {
    /// How much of it is mapped.
    pub limit: u64,
}

impl PhysRead for Physical {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let fits = at
            .checked_add(into.len() as u64)
            .is_some_and(|end| end <= self.limit);
        if fits {
            read(MachAddr::new(at), into);
        }
        fits
    }
}
