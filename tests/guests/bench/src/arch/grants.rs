//! Grants of this domain to itself: what they cost does not depend on who the granter is.

extern crate alloc;

use alloc::vec::Vec;

use frontends::arch::hypercall;
use frontends::events;
use frontends::grants::{Grant, GrantTable, Permit, errno_of};
use frontends::guest_abi::event_channel::{EventChannelOp, Status};
use frontends::guest_abi::grant_table::{
    CopyEnd, CopyFlags, GrantCopy, GrantTableOp, MapFlags, MapGrantRef, UnmapGrantRef,
};
use frontends::guest_abi::ids::DomIdArg;
use frontends::guest_abi::mmu::{Pte, UVMF_NONE};
use frontends::guest_abi::{DomId, Errno, Hypercall, call};
use frontends::memory::Page;

use super::MAPPED;

/// Pages granted, and as many places to map them at.
#[derive(Debug)]
pub(crate) struct Grants {
    granted: Vec<Grant>,
    places: Vec<Page>,
    _table: GrantTable,
}

/// This domain's number: whoever names itself is told, in the state of the port that it opened.
fn own_id() -> Result<DomId, Errno> {
    let port = events::alloc_unbound(DomId::new(DomIdArg::SELF.get()))?;
    let mut status = Status {
        dom: DomIdArg::SELF,
        port,
        ..Status::default()
    };
    let command = EventChannelOp::Status.number();
    hypercall::command(Hypercall::EventChannelOp, command, &mut status)?;
    events::close(port)?;
    u16::try_from(status.detail)
        .map(DomId::new)
        .map_err(|_| Errno::EINVAL)
}

impl Grants {
    /// Grants `count` fresh pages.
    pub(crate) fn new(count: usize) -> Result<Self, Errno> {
        let (own, table) = (own_id()?, GrantTable::new(1)?);
        let granted: Result<_, Errno> = (0..count)
            .map(|_| table.grant(own, Page::zeroed()?, Permit::ReadWrite))
            .collect();
        let places: Result<_, Errno> = (0..count).map(|_| Page::zeroed()).collect();
        Ok(Self {
            granted: granted?,
            places: places?,
            _table: table,
        })
    }

    /// `N` copies in one call, all from the first granted page, to the second or, by its frame, to
    /// one of our own.
    pub(crate) fn copy<const N: usize>(&self, len: u16, to_grant: bool) -> Result<(), Errno> {
        let [from, to, ..] = self.granted.as_slice() else {
            return Err(Errno::EINVAL);
        };
        let mut flags = CopyFlags::SOURCE_GREF;
        flags.set(CopyFlags::DEST_GREF, to_grant);
        let dest = if to_grant {
            CopyEnd::granted(DomIdArg::SELF, to.reference(), 0)
        } else {
            CopyEnd {
                what: to.frame().get(),
                domid: DomIdArg::SELF,
                ..CopyEnd::default()
            }
        };
        let mut batch = [GrantCopy {
            source: CopyEnd::granted(DomIdArg::SELF, from.reference(), 0),
            dest,
            len,
            flags: flags.bits(),
            ..GrantCopy::default()
        }; N];
        hypercall::grant_table_op(GrantTableOp::Copy, &mut batch)?;
        batch.iter().try_for_each(|op| errno_of(op.status))
    }

    /// Maps the first `N` pages in one call and unmaps them in another.
    pub(crate) fn map<const N: usize>(&self) -> Result<(), Errno> {
        let mut maps: [MapGrantRef; N] = core::array::from_fn(|index| MapGrantRef {
            host_addr: self.places[index].address(),
            flags: MapFlags::HOST_MAP.bits(),
            reference: self.granted[index].reference(),
            dom: DomIdArg::SELF,
            ..MapGrantRef::default()
        });
        grant_table_op(GrantTableOp::MapGrantRef, &mut maps)?;
        maps.iter().try_for_each(|op| errno_of(op.status))?;
        let mut unmaps: [UnmapGrantRef; N] = core::array::from_fn(|index| UnmapGrantRef {
            host_addr: maps[index].host_addr,
            handle: maps[index].handle,
            ..UnmapGrantRef::default()
        });
        grant_table_op(GrantTableOp::UnmapGrantRef, &mut unmaps)?;
        unmaps.iter().try_for_each(|op| errno_of(op.status))
    }
}

impl Drop for Grants {
    /// Unmapping left nothing at the places: each gets its page back.
    fn drop(&mut self) {
        for page in &self.places {
            let args = [
                page.address(),
                Pte::map(page.frame(), MAPPED).get(),
                UVMF_NONE,
            ];
            // SAFETY: the page's own frame, at its own address.
            let _ = unsafe { call::call(Hypercall::UpdateVaMapping, args) };
        }
    }
}

fn grant_table_op<T>(op: GrantTableOp, batch: &mut [T]) -> Result<(), Errno> {
    let address = batch.as_mut_ptr().expose_provenance() as u64;
    let args = [u64::from(op.number()), address, batch.len() as u64];
    // SAFETY: the call writes to `batch`; what it maps or unmaps lies at places that nobody reads.
    unsafe { call::call(Hypercall::GrantTableOp, args) }.map(drop)
}
