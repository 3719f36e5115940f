//! Grants: lending pages of this domain to another one.

use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use guest_abi::{
    DomId, Errno, Mfn,
    grant_table::{
        ENTRIES_PER_PAGE, GTF_PERMIT_ACCESS, GTF_TYPE_MASK, GrantEntryFlags, GrantEntryV1,
        GrantStatus,
    },
    ids::{DomIdArg, GrantRef},
};

use crate::arch::{
    hypercall,
    memory::Page,
    window::{Access, Mapping},
};

/// This domain's grant table.
#[derive(Debug)]
pub struct GrantTable {
    entries: Mapping,
    /// References that are free.
    free: Vec<GrantRef>,
}

/// A page lent to another domain; comes back by [`GrantTable::end`].
#[derive(Debug)]
#[must_use = "a grant that is forgotten lends its page for ever"]
pub struct Grant {
    reference: GrantRef,
    page: Page,
}

impl Grant {
    /// What the other domain maps it by.
    #[must_use]
    pub fn reference(&self) -> GrantRef {
        self.reference
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> &Page {
        &self.page
    }
}

impl GrantTable {
    /// Sets up a table of `frames` pages, 512 grants each.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn new(frames: u32) -> Result<Self, Errno> {
        let list = hypercall::setup_grant_table(frames)?;
        let list: Vec<_> = list.into_iter().map(Mfn::new).collect();
        let owner = DomId::new(DomIdArg::SELF.get());
        let entries =
            Mapping::foreign(owner, &list, Access::ReadWrite).map_err(|error| error.errno)?;
        let count = u32::try_from(list.len() * ENTRIES_PER_PAGE).map_err(|_| Errno::E2BIG)?;
        let free = (GrantRef::NR_RESERVED..count)
            .rev()
            .map(GrantRef::new)
            .collect();
        Ok(Self { entries, free })
    }

    /// Lends `page` to `domain`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when all references are in use.
    pub fn grant(&mut self, domain: DomId, page: Page, read_only: bool) -> Result<Grant, Errno> {
        let frame = u32::try_from(page.frame().get()).map_err(|_| Errno::E2BIG)?;
        let reference = self.free.pop().ok_or(Errno::ENOSPC)?;
        let offset = Self::offset(reference);
        // The flags word makes the entry valid, so it comes last.
        self.entries.u32(offset + 4).store(frame, Ordering::Relaxed);
        self.entries
            .u16(offset + 2)
            .store(domain.get(), Ordering::Relaxed);
        let mut flags = GTF_PERMIT_ACCESS;
        if read_only {
            flags |= GrantEntryFlags::READONLY.bits();
        }
        self.entries.u16(offset).store(flags, Ordering::Release);
        Ok(Grant { reference, page })
    }

    /// Takes a page back.
    ///
    /// # Errors
    ///
    /// The grant itself, while the other domain still uses it.
    pub fn end(&mut self, grant: Grant) -> Result<Page, Grant> {
        let word = self.entries.u16(Self::offset(grant.reference));
        let in_use = (GrantEntryFlags::READING | GrantEntryFlags::WRITING).bits();
        let revoked = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |flags| {
            (flags & in_use == 0).then_some(flags & !(GTF_TYPE_MASK | u16::MAX))
        });
        if revoked.is_err() {
            return Err(grant);
        }
        fence(Ordering::SeqCst);
        self.free.push(grant.reference);
        Ok(grant.page)
    }

    fn offset(reference: GrantRef) -> usize {
        reference.get() as usize * size_of::<GrantEntryV1>()
    }
}

/// The refusal a grant status amounts to.
///
/// # Errors
///
/// Every status but success.
pub fn errno_of(status: i16) -> Result<(), Errno> {
    match GrantStatus::from_number(status) {
        Some(GrantStatus::Okay) => Ok(()),
        Some(GrantStatus::Eagain) => Err(Errno::EAGAIN),
        Some(GrantStatus::BadDomain) => Err(Errno::ESRCH),
        Some(GrantStatus::PermissionDenied) => Err(Errno::EPERM),
        Some(GrantStatus::NoSpace | GrantStatus::NoDeviceSpace) => Err(Errno::ENOSPC),
        _ => Err(Errno::EINVAL),
    }
}
