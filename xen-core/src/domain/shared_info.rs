//! The page that a domain shares with the core: pending and mask bits, vCPU slots, wall clock.

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;

use crate::mm;

/// The frame that holds a domain's `shared_info`; it belongs to the domain and goes with it.
#[derive(Debug)]
pub struct SharedInfoPage {
    mfn: Mfn,
}

impl SharedInfoPage {
    /// A zeroed page owned by `domain`.
    ///
    /// # Errors
    /// `ENOMEM` when no frame is free.
    pub(super) fn create(domain: DomId) -> Result<Self, Errno> {
        Ok(Self {
            mfn: mm::alloc_xenheap_page(domain)?,
        })
    }

    /// A page of the test's own.
    #[cfg(test)]
    pub(super) fn fake(domain: DomId) -> Self {
        Self {
            mfn: Mfn::new(0x5a00_0000 + u64::from(domain.get())),
        }
    }

    /// The frame.
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }
}

impl Drop for SharedInfoPage {
    fn drop(&mut self) {
        mm::free_xenheap_page(self.mfn);
    }
}
