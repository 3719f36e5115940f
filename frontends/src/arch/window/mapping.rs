//! What is mapped into the window, owned.

use alloc::vec::Vec;
use core::{ops::Deref, ptr::NonNull};

use guest_abi::{
    DomId, Errno, GuestVirtAddr, MachAddr, Mfn, PAGE_SIZE,
    grant_table::GrantStatus,
    ids::{DomIdArg, GrantRef},
    mmu::Pte,
};

use super::grants::{self, Reach};
use super::{Access, MapError, WINDOW, address_of};
use crate::arch::{
    bytes::{SharedBytes, pointer},
    memory,
};

/// What stands behind a mapping, and how it is undone.
#[derive(Debug)]
enum Kind {
    Frames,
    Grants,
    /// Our own, which come free when the mapping goes.
    Own(#[expect(dead_code, reason = "held, not looked at")] Vec<memory::Page>),
}

/// Frames mapped into the window, until dropped.
#[derive(Debug)]
pub struct Mapping {
    start: usize,
    count: usize,
    kind: Kind,
    bytes: SharedBytes,
}

impl Mapping {
    fn new(start: usize, count: usize, kind: Kind) -> Self {
        let base = pointer(address_of(start));
        let base = NonNull::new(base).unwrap_or(NonNull::dangling());
        // SAFETY: mapped until this is dropped; addresses in the window are used by nobody else.
        let bytes = unsafe { SharedBytes::new(base, count * PAGE_SIZE) };
        Self {
            start,
            count,
            kind,
            bytes,
        }
    }

    /// Maps `frames`, which belong to `owner`, side by side.
    ///
    /// # Errors
    ///
    /// Which frame was refused, and why; nothing is mapped then.
    pub fn foreign(owner: DomId, frames: &[Mfn], access: Access) -> Result<Self, MapError> {
        Self::frames(owner.into(), frames, access)
    }

    /// Maps `len` bytes of device memory from `start` on.
    ///
    /// The mapping begins at the page that holds `start`.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn device(start: MachAddr, len: u64) -> Result<Self, MapError> {
        Self::machine(start, len, Access::Device)
    }

    /// Maps memory of the machine that is nobody's, such as firmware tables.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn machine(start: MachAddr, len: u64, access: Access) -> Result<Self, MapError> {
        let first = start.frame().get();
        let last = MachAddr::new(start.get() + len.saturating_sub(1))
            .frame()
            .get();
        let frames: Vec<_> = (first..=last).map(Mfn::new).collect();
        Self::frames(DomIdArg::SELF, &frames, access)
    }

    fn frames(owner: DomIdArg, frames: &[Mfn], access: Access) -> Result<Self, MapError> {
        let mut window = WINDOW.lock();
        let refuse = |errno| MapError { index: 0, errno };
        let start = window.reserve_frames(frames.len()).map_err(refuse)?;
        let entries = frames.iter().map(|&frame| Pte::map(frame, access.flags()));
        if let Err(error) = window.write(start, entries, owner) {
            let empty = (0..error.index).map(|_| Pte::EMPTY);
            // Clearing entries of our own tables cannot fail.
            let _ = window.write(start, empty, DomIdArg::SELF);
            window.release(start, frames.len());
            return Err(error);
        }
        drop(window);
        Ok(Self::new(start, frames.len(), Kind::Frames))
    }

    /// Maps pages of our own side by side, and keeps them.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the window is full.
    pub fn pages(pages: Vec<memory::Page>) -> Result<Self, Errno> {
        let frames: Vec<_> = pages.iter().map(memory::Page::frame).collect();
        let mapped = Self::frames(DomIdArg::SELF, &frames, Access::ReadWrite);
        let mut mapping = mapped.map_err(|error| error.errno)?;
        mapping.kind = Kind::Own(pages);
        Ok(mapping)
    }

    /// Maps pages that `owner` has granted to this domain, side by side.
    ///
    /// # Errors
    ///
    /// Which grant was refused, and why; nothing is mapped then.
    pub fn grants(
        owner: DomId,
        references: &[GrantRef],
        access: Access,
    ) -> Result<Self, (usize, GrantStatus)> {
        let start = grants::map(owner, references, access, Reach::Program)?;
        Ok(Self::new(start, references.len(), Kind::Grants))
    }

    /// The address of the first byte.
    #[must_use]
    pub fn address(&self) -> GuestVirtAddr {
        GuestVirtAddr::new(address_of(self.start))
    }
}

impl Deref for Mapping {
    type Target = SharedBytes;

    fn deref(&self) -> &SharedBytes {
        &self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        match &self.kind {
            Kind::Frames | Kind::Own(_) => {
                let empty = (0..self.count).map(|_| Pte::EMPTY);
                // Clearing entries of our own tables cannot fail.
                let _ = WINDOW.lock().write(self.start, empty, DomIdArg::SELF);
            }
            Kind::Grants => grants::unmap(self.start, self.count, Reach::Program),
        }
        WINDOW.lock().release(self.start, self.count);
    }
}
