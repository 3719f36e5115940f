//! Grants: lending pages of this domain to another one.
//!
//! A [`Grant`] owns its page for as long as the other domain may use it. Dropping it takes the
//! page back; while the other domain still has it mapped, the page stays with the table, out of
//! everybody's hands, and goes back to the allocator once it is let go. So a peer that never lets
//! go costs memory, never safety.
//!
//! Granting and ending are a few stores each, no hypercall. The table starts with one page (512
//! grants) and grows page by page up to the limit that the hypervisor sets.

mod permit;

use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    ops::Deref,
    sync::atomic::{Ordering, fence},
};

use guest_abi::{
    DomId, Errno, Mfn,
    grant_table::{ENTRIES_PER_PAGE, GrantEntryFlags, GrantEntryV1, GrantStatus},
    ids::{DomIdArg, GrantRef},
};
use spin::Mutex;

use crate::arch::{
    bytes::SharedBytes,
    hypercall,
    memory::Page,
    window::{Access, Mapping},
};

pub use permit::Permit;

/// This domain's grant table. Clones are the same table.
#[derive(Clone, Debug)]
pub struct GrantTable(Arc<Mutex<Table>>);

/// One page of entries.
enum Entries {
    Mapped(Mapping),
    #[cfg(test)]
    Fake(SharedBytes),
}

impl Deref for Entries {
    type Target = SharedBytes;

    fn deref(&self) -> &SharedBytes {
        match self {
            Self::Mapped(mapping) => mapping,
            #[cfg(test)]
            Self::Fake(bytes) => bytes,
        }
    }
}

pub(crate) struct Table {
    entries: Vec<Entries>,
    /// References that are free.
    free: Vec<GrantRef>,
    /// Pages whose owner has dropped them while the other domain still uses them.
    lingering: Vec<(GrantRef, Page)>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("pages", &self.entries.len())
            .field("free", &self.free.len())
            .field("lingering", &self.lingering.len())
            .finish()
    }
}

/// A page lent to another domain, until dropped.
///
/// Its bytes can be reached through it: the other domain may change them at any time.
pub struct Grant {
    table: GrantTable,
    reference: GrantRef,
    /// Always there until the grant ends.
    page: Option<Page>,
    bytes: SharedBytes,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({})", self.reference)
    }
}

impl Grant {
    /// What the other domain maps it by.
    #[must_use]
    pub fn reference(&self) -> GrantRef {
        self.reference
    }

    /// The machine frame behind the page.
    #[must_use]
    pub fn frame(&self) -> Mfn {
        self.page.as_ref().map_or(Mfn::INVALID, Page::frame)
    }

    /// Takes the page back.
    ///
    /// # Errors
    ///
    /// The grant itself, while the other domain still uses the page.
    pub fn end(mut self) -> Result<Page, Self> {
        let ended = self.table.0.lock().revoke(self.reference);
        match self.page.take_if(|_| ended) {
            Some(page) => Ok(page),
            None => Err(self),
        }
    }
}

impl Deref for Grant {
    type Target = SharedBytes;

    fn deref(&self) -> &SharedBytes {
        &self.bytes
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(page) = self.page.take() {
            self.table.0.lock().let_go(self.reference, page);
        }
    }
}

impl GrantTable {
    /// Sets up the table, with room for `frames * 512` grants at the start.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn new(frames: u32) -> Result<Self, Errno> {
        let mut table = Table {
            entries: Vec::new(),
            free: Vec::new(),
            lingering: Vec::new(),
        };
        table.grow(frames as usize)?;
        Ok(Self(Arc::new(Mutex::new(table))))
    }

    /// Lends `page` to `domain`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when all references are in use and the table cannot grow.
    pub fn grant(&self, domain: DomId, page: Page, permit: Permit) -> Result<Grant, Errno> {
        let entry = permit.entry(domain, page.frame())?;
        let reference = self.reserve()?;
        self.write(reference, entry);
        Ok(Grant {
            table: self.clone(),
            reference,
            bytes: page.alias(),
            page: Some(page),
        })
    }

    /// Lends a fresh page of zeros to `domain`, for reading and writing.
    ///
    /// # Errors
    ///
    /// As for [`grant`](Self::grant); `ENOMEM` when there is no page.
    pub fn lend(&self, domain: DomId) -> Result<Grant, Errno> {
        self.grant(domain, Page::zeroed()?, Permit::ReadWrite)
    }

    /// Takes a reference that grants nothing yet.
    pub(crate) fn reserve(&self) -> Result<GrantRef, Errno> {
        self.0.lock().take()
    }

    /// Ends a grant whose owner is gone: now, or when the other domain lets go.
    pub(crate) fn give_up(&self, reference: GrantRef, page: Page) {
        self.0.lock().let_go(reference, page);
    }

    /// The table, for several steps at once.
    pub(crate) fn open(&self) -> impl Deref<Target = Table> + '_ {
        self.0.lock()
    }

    /// Writes an entry as it is. A driver has no use for it; a kernel that tests how its host
    /// bears nonsense has.
    pub fn write(&self, reference: GrantRef, entry: GrantEntryV1) {
        let table = self.0.lock();
        let Some((entries, offset)) = table.place(reference) else {
            return;
        };
        // The flags word makes the entry valid, so it comes last.
        entries
            .u32(offset + 4)
            .store(entry.frame, Ordering::Relaxed);
        entries
            .u16(offset + 2)
            .store(entry.domid.get(), Ordering::Relaxed);
        entries.u16(offset).store(entry.flags, Ordering::Release);
    }

    /// How many pages their owners have dropped that the other domain has not let go of yet.
    #[must_use]
    pub fn lingering(&self) -> usize {
        let mut table = self.0.lock();
        table.sweep();
        table.lingering.len()
    }

    /// A table of one page that no hypervisor knows.
    #[cfg(test)]
    pub(crate) fn fake() -> Self {
        let mut table = Table {
            entries: Vec::new(),
            free: Vec::new(),
            lingering: Vec::new(),
        };
        table.add(Entries::Fake(SharedBytes::fake()));
        Self(Arc::new(Mutex::new(table)))
    }
}

impl Table {
    /// Where an entry lies.
    fn place(&self, reference: GrantRef) -> Option<(&SharedBytes, usize)> {
        let index = reference.get() as usize;
        let entries = self.entries.get(index / ENTRIES_PER_PAGE)?;
        Some((
            entries,
            index % ENTRIES_PER_PAGE * size_of::<GrantEntryV1>(),
        ))
    }

    /// Takes a reference; grows the table if it must.
    fn take(&mut self) -> Result<GrantRef, Errno> {
        self.sweep();
        if self.free.is_empty() {
            self.grow(1).map_err(|_| Errno::ENOSPC)?;
        }
        self.free.pop().ok_or(Errno::ENOSPC)
    }

    /// Adds `frames` pages of entries.
    fn grow(&mut self, frames: usize) -> Result<(), Errno> {
        let have = self.entries.len();
        let wanted = u32::try_from(have + frames).map_err(|_| Errno::E2BIG)?;
        let list = hypercall::setup_grant_table(wanted)?;
        let owner = DomId::new(DomIdArg::SELF.get());
        for &frame in list.iter().skip(have) {
            let mapping = Mapping::foreign(owner, &[Mfn::new(frame)], Access::ReadWrite);
            self.add(Entries::Mapped(mapping.map_err(|error| error.errno)?));
        }
        Ok(())
    }

    fn add(&mut self, entries: Entries) {
        let first = self.entries.len() * ENTRIES_PER_PAGE;
        let numbers = first.max(GrantRef::NR_RESERVED as usize)..first + ENTRIES_PER_PAGE;
        let numbers = numbers.rev().filter_map(|index| u32::try_from(index).ok());
        self.free.extend(numbers.map(GrantRef::new));
        self.entries.push(entries);
    }

    /// Makes an entry valid that is complete but for its flags.
    pub(crate) fn permit(&self, reference: GrantRef, permit: Permit) {
        if let Some((entries, offset)) = self.place(reference) {
            entries.u16(offset).store(permit.flags(), Ordering::Release);
        }
    }

    /// Invalidates an entry, unless the other domain is using it; whether it grants nothing now.
    pub(crate) fn clear(&self, reference: GrantRef) -> bool {
        let in_use = (GrantEntryFlags::READING | GrantEntryFlags::WRITING).bits();
        let Some((entries, offset)) = self.place(reference) else {
            return false;
        };
        let word = entries.u16(offset);
        let cleared = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |flags| {
            (flags & in_use == 0).then_some(0)
        });
        fence(Ordering::SeqCst);
        cleared.is_ok()
    }

    /// The same, and the reference is free then.
    fn revoke(&mut self, reference: GrantRef) -> bool {
        let cleared = self.clear(reference);
        if cleared {
            self.free.push(reference);
        }
        cleared
    }

    /// Ends a grant whose owner is gone: now, or when the other domain lets go.
    fn let_go(&mut self, reference: GrantRef, page: Page) {
        if !self.revoke(reference) {
            self.lingering.push((reference, page));
        }
    }

    /// Takes back the lingering pages that were let go of.
    fn sweep(&mut self) {
        for (reference, page) in core::mem::take(&mut self.lingering) {
            self.let_go(reference, page);
        }
    }
}

impl Drop for Table {
    /// Pages that the other domain still uses are lost with the table: better than used by two.
    fn drop(&mut self) {
        self.sweep();
        for (_, page) in self.lingering.drain(..) {
            core::mem::forget(page);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(table: &GrantTable, grant: &Grant) -> u16 {
        let table = table.0.lock();
        let (entries, offset) = table.place(grant.reference()).unwrap();
        entries.u16(offset).load(Ordering::Relaxed)
    }

    #[test]
    fn a_page_comes_back_when_nobody_uses_it() {
        let table = GrantTable::fake();
        let grant = table
            .grant(DomId::new(0), Page::zeroed().unwrap(), Permit::Read)
            .unwrap();
        assert_eq!(flags(&table, &grant), 1 | 4);
        assert!(grant.end().is_ok());
    }

    #[test]
    fn a_page_in_use_lingers_until_it_is_let_go_of() {
        let table = GrantTable::fake();
        let grant = table.lend(DomId::new(0)).unwrap();
        let reference = grant.reference();
        let entry = |flags| GrantEntryV1 {
            flags,
            ..GrantEntryV1::default()
        };
        table.write(reference, entry(1 | 16));
        let grant = grant.end().unwrap_err();
        drop(grant);
        assert_eq!(table.lingering(), 1);
        table.write(reference, entry(1));
        assert_eq!(table.lingering(), 0);
    }

    #[test]
    fn references_are_used_again() {
        let table = GrantTable::fake();
        for _ in 0..2000 {
            drop(table.lend(DomId::new(0)).unwrap());
        }
        assert_eq!(table.0.lock().free.len(), 512 - 8);
    }
}
