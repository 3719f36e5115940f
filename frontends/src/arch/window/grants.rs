//! Grants of other domains in the window: mapped and unmapped in batches, without any heap.

use guest_abi::{
    DomId, Hypercall, MachAddr, Mfn,
    grant_table::{GrantStatus, GrantTableOp, MapFlags, MapGrantRef, UnmapGrantRef},
    ids::GrantRef,
};
use heapless::Vec as ArrayVec;

use super::{Access, BATCH, Shown, WINDOW, address_of};

/// Who is to reach granted pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// This program, at their addresses in the window.
    Program,
    /// Only devices: nothing is mapped at the addresses, which merely name the pages.
    Devices,
}

/// Maps pages that `owner` has granted, side by side; answers the first page.
///
/// # Errors
///
/// Which grant was refused, and why; nothing is mapped then.
pub(super) fn map(
    owner: DomId,
    references: &[GrantRef],
    access: Access,
    reach: Reach,
) -> Result<usize, (usize, GrantStatus)> {
    let reserved = WINDOW.lock().reserve_grants(references.len());
    let start = reserved.map_err(|_| (0, GrantStatus::NoDeviceSpace))?;
    let mut done = 0;
    for some in references.chunks(BATCH) {
        if let Err((index, status)) = map_some(start + done, owner, some, (access, reach)) {
            // The batch that failed left some mapped, too.
            unmap(start, done + some.len(), reach);
            WINDOW.lock().release(start, references.len());
            return Err((done + index, status));
        }
        done += some.len();
    }
    Ok(start)
}

/// Maps one batch from page `start` on, and notes what was mapped.
fn map_some(
    start: usize,
    owner: DomId,
    references: &[GrantRef],
    (access, reach): (Access, Reach),
) -> Result<(), (usize, GrantStatus)> {
    let mut flags = match reach {
        Reach::Program => MapFlags::HOST_MAP,
        Reach::Devices => MapFlags::DEVICE_MAP,
    };
    flags.set(MapFlags::READONLY, access == Access::ReadOnly);
    let requests = references.iter().enumerate();
    let mut batch: ArrayVec<MapGrantRef, BATCH> = requests
        .map(|(index, &reference)| MapGrantRef {
            host_addr: host_address(start + index, reach),
            flags: flags.bits(),
            reference,
            dom: owner.into(),
            status: GrantStatus::GeneralError.number(),
            ..MapGrantRef::default()
        })
        .collect();
    let args = [
        u64::from(GrantTableOp::MapGrantRef.number()),
        batch.as_mut_ptr().expose_provenance() as u64,
        batch.len() as u64,
    ];
    // SAFETY: the call fills in `batch` and maps at addresses that are reserved. If it
    // fails as a whole, each element keeps the failure it was filled with.
    let _ = unsafe { guest_abi::call::call(Hypercall::GrantTableOp, args) };
    let mut window = WINDOW.lock();
    let mut refused = None;
    for (index, op) in batch.iter().enumerate() {
        if op.status == GrantStatus::Okay.number() {
            if let Some(shown) = window.shown(start + index) {
                *shown = Shown {
                    frame: frame_number(op.dev_bus_addr),
                    handle: op.handle,
                };
            }
        } else if refused.is_none() {
            let status = GrantStatus::from_number(op.status);
            refused = Some((index, status.unwrap_or(GrantStatus::GeneralError)));
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Where a page is mapped for this program, if it is.
fn host_address(page: usize, reach: Reach) -> u64 {
    match reach {
        Reach::Program => address_of(page),
        Reach::Devices => 0,
    }
}

/// A granted frame's number. Grant entries have 32 bits for it.
fn frame_number(address: MachAddr) -> u32 {
    u32::try_from(address.frame().get()).unwrap_or(0)
}

/// Unmaps whatever grants are mapped at these pages.
pub(super) fn unmap(start: usize, count: usize, reach: Reach) {
    let mut next = start;
    while next < start + count {
        let end = (start + count).min(next + BATCH);
        unmap_some(next..end, reach);
        next = end;
    }
}

fn unmap_some(pages: core::ops::Range<usize>, reach: Reach) {
    let mut batch = ArrayVec::<UnmapGrantRef, BATCH>::new();
    let mut window = WINDOW.lock();
    for page in pages {
        let shown = window.shown(page).map(core::mem::take);
        let Some(shown) = shown.filter(|shown| shown.frame != 0) else {
            continue;
        };
        let bus_address = match reach {
            Reach::Program => MachAddr::default(),
            Reach::Devices => Mfn::new(shown.frame.into()).to_maddr(),
        };
        // There is room: callers name no more than a batch.
        let _ = batch.push(UnmapGrantRef {
            host_addr: host_address(page, reach),
            dev_bus_addr: bus_address,
            handle: shown.handle,
            ..UnmapGrantRef::default()
        });
    }
    drop(window);
    let args = [
        u64::from(GrantTableOp::UnmapGrantRef.number()),
        batch.as_mut_ptr().expose_provenance() as u64,
        batch.len() as u64,
    ];
    // SAFETY: the call fills in `batch` and unmaps what only the dropped mapping used.
    let _ = unsafe { guest_abi::call::call(Hypercall::GrantTableOp, args) };
}
