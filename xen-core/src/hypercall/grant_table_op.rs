//! `grant_table_op`: an array of requests, each with a status of its own.
//!
//! A long array is worked on in pieces: between two, the arguments point at what is left.

use core::fmt;
use core::mem::{MaybeUninit, offset_of};

use guest_abi::errno::Errno;
use guest_abi::frame::MachAddr;
use guest_abi::grant_table::{
    GetVersion, GrantCopy, GrantStatus, GrantTableOp, MapFlags, MapGrantRef, QuerySize, SetVersion,
    SetupTable, UnmapGrantRef,
};
use guest_abi::ids::{DomIdArg, GrantHandle};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop};
use crate::domain::DomainRef;
use crate::grant::copy::Copier;
use crate::grant::machine::Caller;
use crate::grant::map::{Parts, Place, Request, Unmapped, map, unmap};
use crate::grant::refusal::Refusal;
use crate::mm::access::note_refusal;

/// Requests that one call handles before it pauses.
const BATCH: u32 = 64;

/// `grant_table_op(command, requests, count)`.
pub fn grant_table_op(call: &mut Call<'_>) -> Reply {
    let [command, requests, count, ..] = call.args;
    let command = GrantTableOp::from_register(command).ok_or(Errno::ENOSYS)?;
    // As in C, the count is an `unsigned int` that must not look negative.
    let count = u32::try_from(count & 0xffff_ffff).unwrap_or(u32::MAX);
    if count > i32::MAX as u32 {
        return Err(Errno::EINVAL.into());
    }
    match command {
        GrantTableOp::MapGrantRef => map_all(call, count),
        GrantTableOp::UnmapGrantRef => unmap_all(call, count),
        GrantTableOp::Copy => copy_all(call, count),
        GrantTableOp::SetupTable => single(call, requests, count, setup_table),
        GrantTableOp::QuerySize => single(call, requests, count, query_size),
        GrantTableOp::SetVersion => set_version(requests),
        GrantTableOp::GetVersion => get_version(call, requests),
        // Version 2 and what came with it, transfer, and the debugging aid.
        GrantTableOp::DumpTable
        | GrantTableOp::Transfer
        | GrantTableOp::UnmapAndReplace
        | GrantTableOp::GetStatusFrames
        | GrantTableOp::SwapGrantRef
        | GrantTableOp::CacheFlush => Err(Errno::ENOSYS.into()),
    }
}

/// Ends the call, or leaves what is left of the array in the arguments.
fn pause_after<T>(call: &mut Call<'_>, done: u32, count: u32) -> Reply {
    if done == count {
        return Ok(0);
    }
    call.args[1] = GuestPtr::<T>::new(call.args[1])
        .at(done.into())?
        .address()
        .get();
    call.args[2] = u64::from(count - done);
    Err(Stop::Again)
}

/// The status in a structure.
fn status_of(result: Result<(), GrantStatus>) -> i16 {
    result.err().unwrap_or(GrantStatus::Okay).number()
}

/// The status for the caller, with the reason in the log.
#[cold]
fn refused(call: &Call<'_>, what: fmt::Arguments<'_>, refusal: Refusal) -> i16 {
    note_refusal(call.domain(), what, refusal);
    refusal.status().number()
}

/// A domain named as the other side of a grant.
fn party(call: &Call<'_>, domid: DomIdArg) -> Result<DomainRef, GrantStatus> {
    let domain = call.lookup(domid).map_err(|_| GrantStatus::BadDomain)?;
    if domain.life.is_dying() {
        Err(GrantStatus::BadDomain)
    } else {
        Ok(domain)
    }
}

/// Maps in batches of [`BATCH`]. Most batches have one granter, who is looked up once.
fn map_all(call: &mut Call<'_>, count: u32) -> Reply {
    let requests = GuestPtr::<MapGrantRef>::new(call.args[1]);
    let now = count.min(BATCH);
    let mut granter = None;
    for index in 0..now {
        let at = requests.at(index.into())?;
        let mut op = at.copy_in()?;
        map_grant_ref(call, &mut op, &mut granter);
        at.copy_out(&op)?;
    }
    pause_after::<MapGrantRef>(call, now, count)
}

/// A domain that was looked up, by the number that the guest has for it.
type Known = Option<(DomIdArg, DomainRef)>;

fn map_grant_ref(call: &Call<'_>, op: &mut MapGrantRef, granter: &mut Known) {
    match try_map(call, op, granter) {
        Ok((handle, address)) => {
            op.handle = handle;
            op.dev_bus_addr = address;
            op.status = GrantStatus::Okay.number();
        }
        Err(refusal) => {
            let what = format_args!("mapping of grant {} of d{}", op.reference, op.dom.get());
            op.status = refused(call, what, refusal);
        }
    }
}

fn try_map(
    call: &Call<'_>,
    op: &MapGrantRef,
    granter: &mut Known,
) -> Result<(GrantHandle, MachAddr), Refusal> {
    let flags = MapFlags::from_bits_retain(op.flags);
    let request = Request {
        reference: op.reference,
        flags,
        place: if flags.contains(MapFlags::CONTAINS_PTE) {
            Place::Entry(op.host_addr)
        } else {
            Place::Address(op.host_addr)
        },
    };
    let granter = match granter {
        Some((domid, known)) if *domid == op.dom && !known.life.is_dying() => known,
        other => &mut other.insert((op.dom, party(call, op.dom)?)).1,
    };
    let (handle, frame) = map(
        call.vcpu.domain_ref(),
        granter,
        &request,
        &Caller(call.vcpu),
    )?;
    Ok((handle, frame.to_maddr()))
}

/// Unmaps in batches of [`BATCH`], with one flush for each that removed page-table entries.
fn unmap_all(call: &mut Call<'_>, count: u32) -> Reply {
    let now = count.min(BATCH);
    unmap_batch(call, now)?;
    pause_after::<UnmapGrantRef>(call, now, count)
}

fn unmap_batch(call: &Call<'_>, count: u32) -> Result<(), Errno> {
    let requests = GuestPtr::<UnmapGrantRef>::new(call.args[1]);
    let machine = Caller(call.vcpu);
    let mut removed = heapless::Vec::<Unmapped<DomainRef>, { BATCH as usize }>::new();
    let outcome = (0..count).try_for_each(|index| {
        let at = requests.at(index.into())?;
        let mut op = at.copy_in()?;
        op.status = match unmap_one(call, &machine, &op) {
            Ok(unmapped) => {
                // The batch is as long as the vector.
                let _ = removed.push(unmapped);
                GrantStatus::Okay.number()
            }
            Err(refusal) => refused(call, format_args!("unmapping of {}", op.handle), refusal),
        };
        let status = at.field(offset_of!(UnmapGrantRef, status));
        status.copy_out(&op.status)
    });
    // Also after a bad pointer: what was removed is finished.
    if removed.iter().any(Unmapped::needs_flush) {
        machine.flush();
    }
    for unmapped in removed {
        unmapped.finish(call.vcpu.domain_ref(), &machine);
    }
    outcome
}

fn unmap_one(
    call: &Call<'_>,
    machine: &Caller<'_>,
    op: &UnmapGrantRef,
) -> Result<Unmapped<DomainRef>, Refusal> {
    let device = op.dev_bus_addr.get();
    unmap(
        call.vcpu.domain_ref(),
        op.handle,
        Parts {
            host: (op.host_addr != 0).then_some(op.host_addr),
            device: (device != 0).then_some(device),
        },
        machine,
    )
}

/// Copies in batches of [`BATCH`]; of each request only the status goes back.
fn copy_all(call: &mut Call<'_>, count: u32) -> Reply {
    let now = count.min(BATCH);
    copy_batch(call, now as usize)?;
    pause_after::<GrantCopy>(call, now, count)
}

/// Requests to copy that are read at once.
const WINDOW: usize = 16;

#[inline(never)]
fn copy_batch(call: &Call<'_>, count: usize) -> Result<(), Errno> {
    let machine = Caller(call.vcpu);
    let mut copier = Copier::new(call.vcpu.domain_ref(), &machine);
    let mut room = [const { MaybeUninit::uninit() }; WINDOW];
    let (mut window, mut done) = (WINDOW, 0);
    while done < count {
        let requests = GuestPtr::<GrantCopy>::new(call.args[1]).at(done as u64)?;
        let some = window.min(count - done);
        let Ok(ops) = requests.copy_in_all(&mut room[..some]) else {
            // All that can be read is worked on before the call fails.
            if some == 1 {
                return Err(Errno::EFAULT);
            }
            window = 1;
            continue;
        };
        copy_window(call, &mut copier, ops, requests)?;
        done += some;
    }
    Ok(())
}

/// Performs the copies that `ops` says, read from `requests`.
fn copy_window(
    call: &Call<'_>,
    copier: &mut Copier<'_, DomainRef, Caller<'_>>,
    ops: &[GrantCopy],
    requests: GuestPtr<GrantCopy>,
) -> Result<(), Errno> {
    for (op, at) in ops.iter().zip(requests.and_following()) {
        let status = match copier.copy(op, |domid| party(call, domid).ok()) {
            Ok(()) => GrantStatus::Okay.number(),
            Err(refusal) => copy_refused(call, op, refusal),
        };
        at.field(offset_of!(GrantCopy, status)).copy_out(&status)?;
    }
    Ok(())
}

#[cold]
fn copy_refused(call: &Call<'_>, op: &GrantCopy, refusal: Refusal) -> i16 {
    let (from, to) = (&op.source, &op.dest);
    let what = format_args!(
        "copy of {:#x} (d{}) to {:#x} (d{})",
        from.what,
        from.domid.get(),
        to.what,
        to.domid.get()
    );
    refused(call, what, refusal)
}

/// An operation that takes exactly one structure.
fn single<T: FromBytes + IntoBytes + Immutable>(
    call: &Call<'_>,
    request: u64,
    count: u32,
    operation: impl FnOnce(&Call<'_>, &mut T),
) -> Reply {
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    let request = GuestPtr::<T>::new(request);
    let mut op = request.copy_in()?;
    operation(call, &mut op);
    request.copy_out(&op)?;
    Ok(0)
}

/// The domain whose table is meant; only a privileged caller may mean another's.
fn table_owner(call: &Call<'_>, domid: DomIdArg) -> Result<DomainRef, GrantStatus> {
    call.resolve(domid).map_err(|errno| match errno {
        Errno::EPERM => GrantStatus::PermissionDenied,
        _ => GrantStatus::BadDomain,
    })
}

fn setup_table(call: &Call<'_>, op: &mut SetupTable) {
    op.status = status_of(try_setup_table(call, op));
}

fn try_setup_table(call: &Call<'_>, op: &SetupTable) -> Result<(), GrantStatus> {
    let owner = table_owner(call, op.dom)?;
    let list = GuestPtr::<u64>::new(op.frame_list.get());
    if op.nr_frames > owner.grants.max_frames() {
        return Err(GrantStatus::GeneralError);
    }
    for index in 0..op.nr_frames {
        let frame = owner
            .grants
            .frame(owner.id, index)
            .map_err(|_| GrantStatus::GeneralError)?;
        list.at(index.into())
            .and_then(|at| at.copy_out(&frame.get()))
            .map_err(|_| GrantStatus::BadVirtAddr)?;
    }
    Ok(())
}

fn query_size(call: &Call<'_>, op: &mut QuerySize) {
    let owner = table_owner(call, op.dom);
    if let Ok(owner) = &owner {
        op.nr_frames = owner.grants.frames();
        op.max_nr_frames = owner.grants.max_frames();
    }
    op.status = status_of(owner.map(drop));
}

/// Only version 1 is there to be chosen.
fn set_version(request: u64) -> Reply {
    let request = GuestPtr::<SetVersion>::new(request);
    let wanted = request.copy_in()?.version;
    let answer = match wanted {
        1 => Ok(0),
        2 => Err(Errno::ENOSYS.into()),
        _ => Err(Errno::EINVAL.into()),
    };
    request.copy_out(&SetVersion { version: 1 })?;
    answer
}

fn get_version(call: &Call<'_>, request: u64) -> Reply {
    let request = GuestPtr::<GetVersion>::new(request);
    let mut op = request.copy_in()?;
    call.resolve(op.dom)?;
    op.version = 1;
    request.copy_out(&op)?;
    Ok(0)
}
