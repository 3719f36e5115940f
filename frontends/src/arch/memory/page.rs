//! Single pages, owned, and pages that serve as page tables.

use core::{ops::Deref, ptr::NonNull};

use guest_abi::{Errno, Mfn, PAGE_SIZE, Pfn};

#[cfg(not(test))]
use super::address_of;
use super::{RAM_STATE, set_read_only, set_writable};
use crate::arch::bytes::{SharedBytes, pointer};

/// One page of the guest's memory, owned.
#[derive(Debug)]
pub struct Page {
    pfn: u64,
    frame: Mfn,
    bytes: SharedBytes,
}

impl Page {
    /// A page with whatever lies in it.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is none left.
    #[cfg(not(test))]
    pub fn new() -> Result<Self, Errno> {
        let mut guard = RAM_STATE.lock();
        let ram = guard.as_mut().ok_or(Errno::ENOMEM)?;
        let pfn = ram.take().ok_or(Errno::ENOMEM)?;
        let base = pointer(address_of(pfn));
        let base = NonNull::new(base).ok_or(Errno::ENOMEM)?;
        // SAFETY: the page is mapped for good, and ours alone from now on.
        let bytes = unsafe { SharedBytes::new(base, PAGE_SIZE) };
        Ok(Self {
            pfn,
            frame: ram.frame(pfn),
            bytes,
        })
    }

    /// A page of the test program, which is never used again.
    #[cfg(test)]
    pub fn new() -> Result<Self, Errno> {
        let bytes = SharedBytes::fake();
        let pfn = bytes.address() / PAGE_SIZE as u64;
        Ok(Self {
            pfn,
            frame: Mfn::new(pfn & 0xffff_ffff),
            bytes,
        })
    }

    /// The page's bytes once more, for whoever keeps the page for as long.
    pub(crate) fn alias(&self) -> SharedBytes {
        let base = NonNull::new(pointer(self.bytes.address())).unwrap_or(NonNull::dangling());
        // SAFETY: the same bytes; the caller keeps the page alive, and accesses are by copies.
        unsafe { SharedBytes::new(base, PAGE_SIZE) }
    }

    /// A page of zeros.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn zeroed() -> Result<Self, Errno> {
        let page = Self::new()?;
        page.fill(0, PAGE_SIZE, 0);
        Ok(page)
    }

    /// The machine frame behind the page.
    #[must_use]
    pub fn frame(&self) -> Mfn {
        self.frame
    }

    /// The guest's number of the page.
    #[must_use]
    pub fn pfn(&self) -> Pfn {
        Pfn::new(self.pfn)
    }

    /// Makes the page read-only here, so that it can serve as a page table.
    ///
    /// Reading stays possible; a write to it is a fault from now on.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn into_table(self) -> Result<TablePage, Errno> {
        set_read_only(self.pfn, self.frame)?;
        Ok(TablePage { page: Some(self) })
    }
}

impl Deref for Page {
    type Target = SharedBytes;

    fn deref(&self) -> &SharedBytes {
        &self.bytes
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(ram) = RAM_STATE.lock().as_mut() {
            ram.give(self.pfn);
        }
    }
}

/// A page that serves as a page table, or did.
#[derive(Debug)]
pub struct TablePage {
    /// Always there until dropped.
    page: Option<Page>,
}

impl TablePage {
    /// The machine frame behind the table.
    #[must_use]
    pub fn frame(&self) -> Mfn {
        self.page.as_ref().map_or(Mfn::INVALID, Page::frame)
    }

    /// The same, of a page that stays read-only for good.
    #[must_use]
    pub fn frame_forever(mut self) -> Mfn {
        let frame = self.frame();
        core::mem::forget(self.page.take());
        frame
    }
}

impl Drop for TablePage {
    /// Makes the page ordinary memory again; one still in use as a table is lost.
    fn drop(&mut self) {
        if let Some(page) = self.page.take()
            && set_writable(page.pfn, page.frame).is_err()
        {
            core::mem::forget(page);
        }
    }
}
