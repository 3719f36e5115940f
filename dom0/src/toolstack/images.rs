//! Kernels and ramdisks, kept for a domain's restarts.
//!
//! The files came from a caller who may be gone by then. Domains that boot the same file share
//! it.

use alloc::rc::Rc;
use alloc::vec::Vec;

use super::Toolstack;

/// What a domain boots.
#[derive(Clone, Debug)]
pub struct Images {
    /// The kernel file.
    pub kernel: Rc<Vec<u8>>,
    /// The ramdisk file.
    pub ramdisk: Option<Rc<Vec<u8>>>,
}

impl Toolstack {
    /// Keeps a file, or finds the one with the same bytes that is kept already.
    pub fn keep_image(&self, bytes: Vec<u8>) -> Rc<Vec<u8>> {
        let mut images = self.images.borrow_mut();
        images.retain(|image| image.strong_count() > 0);
        let same = images
            .iter()
            .filter_map(alloc::rc::Weak::upgrade)
            .find(|old| **old == bytes);
        same.unwrap_or_else(|| {
            let image = Rc::new(bytes);
            images.push(Rc::downgrade(&image));
            image
        })
    }
}
