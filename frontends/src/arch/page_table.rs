//! A user address space: a root of its own with a few pages in it.
//!
//! On x86-64 a guest's user mode runs under a second root which lacks the
//! kernel's entries. This one has a single table of each level, so its pages
//! lie side by side in one stretch of 2 MiB.

use alloc::vec::Vec;

use guest_abi::{
    Errno, Mfn,
    ids::DomIdArg,
    mmu::{ENTRIES_PER_TABLE, MmuextCommand, MmuextOp, Pte, PteFlags},
};

use super::{
    hypercall, memory,
    memory::{Page, TablePage},
};

/// The first address of user pages.
pub const USER_BASE: u64 = 0x40_0000;

/// A user address space. Pages are there from [`USER_BASE`] on.
#[derive(Debug)]
pub struct UserSpace {
    root: TablePage,
    /// Kept while the root leads to them.
    _lower: [TablePage; 3],
    _pages: Vec<Page>,
}

/// The entry for a lower table or page, open to user mode.
fn user_link(frame: Mfn) -> Pte {
    Pte::map(frame, memory::LINK)
}

/// A table with one entry.
fn table_with(index: usize, entry: Pte) -> Result<TablePage, Errno> {
    let page = Page::zeroed()?;
    page.u64(index * 8)
        .store(entry.get(), core::sync::atomic::Ordering::Relaxed);
    page.into_table()
}

/// The index of `address` in a table of `level`.
const fn index_at(address: u64, level: u32) -> usize {
    ((address >> (12 + 9 * (level - 1))) & 511) as usize
}

impl UserSpace {
    /// An address space of these pages, in order; all are writable and executable.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal; `E2BIG` for more than 512 pages.
    pub fn new(pages: Vec<Page>) -> Result<Self, Errno> {
        if pages.len() > ENTRIES_PER_TABLE {
            return Err(Errno::E2BIG);
        }
        let l1 = Page::zeroed()?;
        for (index, page) in pages.iter().enumerate() {
            let entry = Pte::map(page.frame(), memory::RAM | PteFlags::USER);
            l1.u64(index * 8)
                .store(entry.get(), core::sync::atomic::Ordering::Relaxed);
        }
        let l1 = l1.into_table()?;
        let l2 = table_with(index_at(USER_BASE, 2), user_link(l1.frame()))?;
        let l3 = table_with(index_at(USER_BASE, 3), user_link(l2.frame()))?;
        let root = table_with(index_at(USER_BASE, 4), user_link(l3.frame()))?;
        table_op(MmuextCommand::PinL4Table, root.frame())?;
        Ok(Self {
            root,
            _lower: [l1, l2, l3],
            _pages: pages,
        })
    }

    /// Makes this the address space of the calling vCPU's user mode.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub(crate) fn load(&self) -> Result<(), Errno> {
        table_op(MmuextCommand::NewUserBaseptr, self.root.frame())
    }
}

impl Drop for UserSpace {
    fn drop(&mut self) {
        // Refused if it was never loaded here, or another vCPU still uses it: the
        // tables then stay read-only and are lost (see `TablePage`).
        let _ = table_op(MmuextCommand::NewUserBaseptr, Mfn::new(0));
        let _ = table_op(MmuextCommand::UnpinTable, self.root.frame());
    }
}

fn table_op(command: MmuextCommand, frame: Mfn) -> Result<(), Errno> {
    let op = MmuextOp::on_frame(command, frame);
    // SAFETY: pins and user roots do not change what kernel addresses mean.
    unsafe { hypercall::mmuext_op(&[op], DomIdArg::SELF.get()) }
}
