//! The page that a domain shares with the core: pending and mask bits, vCPU slots, wall clock.

use core::sync::atomic::Ordering;

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;
use guest_abi::shared_info::LEGACY_MAX_VCPUS;
use guest_abi::vcpu::VcpuInfo;

use crate::arch::shared_page::SharedPage;
use crate::mm;

/// The frame that holds a domain's `shared_info`; it belongs to the domain and goes with it.
#[derive(Debug)]
pub struct SharedInfoPage {
    mfn: Mfn,
}

impl SharedInfoPage {
    /// A page owned by `domain`: zeros, but for the upcall masks.
    ///
    /// # Errors
    /// `ENOMEM` when no frame is free.
    pub(super) fn create(domain: DomId) -> Result<Self, Errno> {
        let mfn = mm::alloc_xenheap_page(domain)?;
        mask_upcalls(SharedPage::new(mfn));
        Ok(Self { mfn })
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

/// No vCPU takes upcalls before it says that it is ready for them.
fn mask_upcalls(page: SharedPage) {
    let mask = core::mem::offset_of!(VcpuInfo, evtchn_upcall_mask);
    for slot in 0..LEGACY_MAX_VCPUS {
        let byte = page.atomic_u8(slot * size_of::<VcpuInfo>() + mask);
        byte.store(1, Ordering::Relaxed);
    }
}

impl Drop for SharedInfoPage {
    fn drop(&mut self) {
        mm::free_xenheap_page(self.mfn);
    }
}
