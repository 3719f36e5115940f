//! What a backend asks of its host: narrow traits, one real and one fake implementor.

use core::sync::atomic::{Ordering, fence};

/// A page that another domain may write at any moment.
///
/// Nobody ever holds a reference into it: bytes are copied in and out, and an index is read once
/// into a local before it is believed. Offsets are the backend's own constants or are reduced
/// modulo a ring's size, so an implementor may treat one outside the page as a bug of ours: it
/// reads zeros and ignores writes.
pub trait SharedPage {
    /// Reads the aligned 32-bit word at `offset` once.
    fn load_u32(&self, offset: usize) -> u32;

    /// Writes the aligned 32-bit word at `offset` once.
    fn store_u32(&self, offset: usize, value: u32);

    /// Copies bytes starting at `offset` out of the page.
    fn copy_from(&self, offset: usize, into: &mut [u8]);

    /// Copies bytes into the page, starting at `offset`.
    fn copy_to(&self, offset: usize, from: &[u8]);
}

/// A full memory barrier: orders data against the index that announces it, and our index
/// against our next look at the other side's.
pub(crate) fn full_barrier() {
    fence(Ordering::SeqCst);
}

/// One 4 KiB page of ordinary memory that plays a page shared with a guest.
#[cfg(test)]
pub(crate) mod fake {
    use super::SharedPage;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A page both "sides" of a test hold a handle to.
    #[derive(Clone, Debug)]
    pub(crate) struct FakePage(Rc<RefCell<Vec<u8>>>);

    impl FakePage {
        /// A page of zeros.
        pub(crate) fn new() -> Self {
            Self(Rc::new(RefCell::new(vec![0; 4096])))
        }
    }

    impl SharedPage for FakePage {
        fn load_u32(&self, offset: usize) -> u32 {
            let mut word = [0; 4];
            self.copy_from(offset, &mut word);
            u32::from_le_bytes(word)
        }

        fn store_u32(&self, offset: usize, value: u32) {
            self.copy_to(offset, &value.to_le_bytes());
        }

        fn copy_from(&self, offset: usize, into: &mut [u8]) {
            into.copy_from_slice(&self.0.borrow()[offset..offset + into.len()]);
        }

        fn copy_to(&self, offset: usize, from: &[u8]) {
            self.0.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
        }
    }
}
