//! What is measured, where it takes more than a safe function of `frontends`.
//!
//! The page-table operations work on a page and a table that [`Scratch`] owns: nothing else is
//! mapped through them.

mod grants;

use core::arch::asm;

use frontends::guest_abi::{
    Errno, GuestVirtAddr, Hypercall, MachAddr, Mfn, call,
    ids::DomIdArg,
    mmu::{MmuUpdate, MmuextCommand, MmuextOp, Pte, PteFlags, UVMF_NONE},
};
use frontends::memory::{Page, TablePage};

pub(crate) use grants::Grants;

const MAPPED: PteFlags = PteFlags::PRESENT
    .union(PteFlags::RW)
    .union(PteFlags::ACCESSED)
    .union(PteFlags::DIRTY);

/// The time-stamp counter.
pub(crate) fn cycles() -> u64 {
    // SAFETY: only reads a counter, and the hypervisor lets guests read it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// A breakpoint, which the kernel's handler lets pass.
pub(crate) fn breakpoint() {
    // SAFETY: the handler changes nothing.
    unsafe { asm!("int3") };
}

/// The root that is loaded.
fn root() -> Mfn {
    let root: u64;
    // SAFETY: only reads a register; the hypervisor answers with the frame's address.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags)) };
    MachAddr::new(root).frame()
}

/// Pages to map and a table to map them with.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Its place in the linear map shows one of `frames` at a time.
    page: Page,
    /// The page's own frame and that of another page.
    frames: [Mfn; 2],
    /// Keeps the other frame ours.
    _other: Page,
    table: TablePage,
    root: Mfn,
    round: usize,
}

impl Scratch {
    /// Fresh pages.
    pub(crate) fn new() -> Result<Self, Errno> {
        let (page, other) = (Page::zeroed()?, Page::zeroed()?);
        Ok(Self {
            frames: [page.frame(), other.frame()],
            page,
            _other: other,
            table: Page::zeroed()?.into_table()?,
            root: root(),
            round: 0,
        })
    }

    /// An entry for the frame that the last round did not map.
    fn next_entry(&mut self) -> Pte {
        self.round += 1;
        Pte::map(self.frames[self.round % 2], MAPPED)
    }

    /// Maps the other frame at the page's place. An even number of rounds restores it.
    pub(crate) fn update_va_mapping(&mut self) -> Result<(), Errno> {
        let args = [self.page.address(), self.next_entry().get(), UVMF_NONE];
        // SAFETY: the page's bytes are shared memory to Rust, and nobody reads them.
        unsafe { call::call(Hypercall::UpdateVaMapping, args) }.map(drop)
    }

    /// Maps the other frame in the first `N` entries of the pinned table, in one call.
    pub(crate) fn mmu_update<const N: usize>(&mut self) -> Result<(), Errno> {
        let val = self.next_entry().get();
        let table = self.table.frame().to_maddr().get();
        let batch: [_; N] = core::array::from_fn(|index| MmuUpdate {
            ptr: table + 8 * index as u64,
            val,
        });
        let args = [
            batch.as_ptr().expose_provenance() as u64,
            N as u64,
            0,
            u64::from(DomIdArg::SELF.get()),
        ];
        // SAFETY: the call reads `batch`; no root leads to the table.
        unsafe { call::call(Hypercall::MmuUpdate, args) }.map(drop)
    }

    /// Empties the first `n` entries of the table.
    pub(crate) fn clear(&mut self, n: usize) -> Result<(), Errno> {
        for index in 0..n {
            let update = MmuUpdate {
                ptr: self.table.frame().to_maddr().get() + 8 * index as u64,
                val: 0,
            };
            let args = [
                (&raw const update).expose_provenance() as u64,
                1,
                0,
                u64::from(DomIdArg::SELF.get()),
            ];
            // SAFETY: as in `mmu_update`.
            unsafe { call::call(Hypercall::MmuUpdate, args) }?;
        }
        Ok(())
    }

    /// Makes the table one: its entries are checked.
    pub(crate) fn pin(&self) -> Result<(), Errno> {
        extended(&MmuextOp::on_frame(
            MmuextCommand::PinL1Table,
            self.table.frame(),
        ))
    }

    /// Takes that back.
    pub(crate) fn unpin(&self) -> Result<(), Errno> {
        extended(&MmuextOp::on_frame(
            MmuextCommand::UnpinTable,
            self.table.frame(),
        ))
    }

    /// Loads the root that is loaded already.
    pub(crate) fn new_baseptr(&self) -> Result<(), Errno> {
        extended(&MmuextOp::on_frame(MmuextCommand::NewBaseptr, self.root))
    }

    /// Flushes the TLB of this CPU.
    pub(crate) fn flush(&self) -> Result<(), Errno> {
        extended(&MmuextOp::on_frame(
            MmuextCommand::TlbFlushLocal,
            Mfn::new(0),
        ))
    }

    /// Flushes the page out of the TLB of this CPU.
    pub(crate) fn invlpg(&self) -> Result<(), Errno> {
        let address = GuestVirtAddr::new(self.page.address());
        extended(&MmuextOp::on_address(
            MmuextCommand::InvlpgLocal,
            address,
            0,
        ))
    }
}

fn extended(op: &MmuextOp) -> Result<(), Errno> {
    let args = [
        core::ptr::from_ref(op).expose_provenance() as u64,
        1,
        0,
        u64::from(DomIdArg::SELF.get()),
    ];
    // SAFETY: the call reads `op`; pins, flushes and the root that is loaded anyway do not change
    // what any address means.
    unsafe { call::call(Hypercall::MmuextOp, args) }.map(drop)
}
