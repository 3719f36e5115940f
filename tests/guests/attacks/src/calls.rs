//! Hypercalls with their requests in a page of their own, for arguments that no function would take.

use core::sync::atomic::Ordering;

use frontends::{
    arch::misbehave,
    guest_abi::{
        Hypercall, Mfn, PAGE_SIZE, Pfn,
        grant_table::GrantTableOp,
        ids::DomIdArg,
        memory::MemoryOp,
        mmu::{MmuextCommand, UVMF_INVLPG},
    },
    memory::{Page, VIRT_BASE},
};

/// Where requests are put.
pub(crate) struct Calls(Page);

/// The address of a page in the linear map.
pub(crate) fn address(pfn: Pfn) -> u64 {
    VIRT_BASE + pfn.get() * PAGE_SIZE as u64
}

impl Calls {
    /// With a page for the requests.
    pub(crate) fn new() -> Self {
        Self(Page::zeroed().expect("a page"))
    }

    fn request(&self, words: &[u64]) -> u64 {
        for (index, word) in words.iter().enumerate() {
            self.0.u64(index * 8).store(*word, Ordering::Relaxed);
        }
        address(self.0.pfn())
    }

    /// One `mmuext_op`.
    pub(crate) fn mmuext(&self, command: MmuextCommand, frame: Mfn) -> i64 {
        let request = self.request(&[command.number().into(), frame.get(), 0]);
        call(Hypercall::MmuextOp, [request, 1, 0, SELF, 0, 0])
    }

    /// One `mmu_update`: entry `index` of `table` is to be `value`.
    pub(crate) fn update(&self, table: Mfn, index: u64, value: u64) -> i64 {
        let request = self.request(&[table.to_maddr().get() + index * 8, value]);
        call(Hypercall::MmuUpdate, [request, 1, 0, SELF, 0, 0])
    }

    /// One `update_va_mapping`.
    pub(crate) fn map(&self, at: u64, value: u64) -> i64 {
        call(
            Hypercall::UpdateVaMapping,
            [at, value, UVMF_INVLPG, 0, 0, 0],
        )
    }

    /// Gives one frame back; answers how many went.
    pub(crate) fn give_back(&self, frame: Mfn) -> i64 {
        const LIST: u64 = 64;
        self.0.u64(64).store(frame.get(), Ordering::Relaxed);
        let list = address(self.0.pfn()) + LIST;
        // Struct `MemoryReservation`: list, count, order and flags, domain.
        let request = self.request(&[list, 1, 0, SELF]);
        let command = MemoryOp::DecreaseReservation.number();
        call(Hypercall::MemoryOp, [command.into(), request, 0, 0, 0, 0])
    }
}

/// One `grant_table_op`, with its requests wherever they are said to be.
pub(crate) fn grant_table_op(command: GrantTableOp, requests: u64, count: u64) -> i64 {
    let command = command.number().into();
    call(Hypercall::GrantTableOp, [command, requests, count, 0, 0, 0])
}

const SELF: u64 = DomIdArg::SELF.get() as u64;

fn call(number: Hypercall, args: [u64; 6]) -> i64 {
    misbehave::any_hypercall(number.number(), args).cast_signed()
}
