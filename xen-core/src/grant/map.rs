//! Mapping and unmapping granted frames.
//!
//! Mapping, in steps that are undone in reverse when a later one fails:
//! 1. reserve a handle in the mapper's track;
//! 2. begin a use of the entry in the granter's table, which yields the frame;
//! 3. hold the frame: a general reference, and one as "writable" if it may be written;
//! 4. install the page-table entry, which holds references of its own like every other entry;
//! 5. publish the mapping under its handle.
//!
//! Unmapping goes the other way, in two halves: [`unmap`] removes the page-table entry, and
//! [`Unmapped::finish`] lets go of frame and grant once no TLB holds the translation any more.
//! In between the handle is busy, so nobody else unmaps it.
//!
//! A mapping for devices alone has no page-table entry: step 4 falls away, and with it the flush.
//! Frame and grant are held all the same, to be written or read, until it is unmapped.
//!
//! The mapping's own hold on the frame is separate from the page-table entry's. However the entry
//! goes away (by unmapping, by an ordinary update of the table, with the whole table), it drops
//! what it holds and no more; the mapping's share is dropped exactly once, with its handle.

use core::fmt;

use guest_abi::frame::Mfn;
use guest_abi::grant_table::{GrantStatus, MapFlags};
use guest_abi::ids::{DomId, GrantHandle, GrantRef};

use super::entry::Access;
use super::map_track::{MapTrack, Mapping};
use super::refusal::Refusal;
use super::table::Table;
use crate::sync::SpinLock;

/// A domain's side of all grants: what it grants, what it has mapped.
pub struct Grants<P> {
    pub(super) table: SpinLock<Table>,
    pub(super) track: SpinLock<MapTrack<P>>,
    max_frames: u32,
}

impl<P> Grants<P> {
    /// Nothing granted, nothing mapped; up to these many frames of each.
    pub fn new(max_grant_frames: u32, max_maptrack_frames: u32) -> Self {
        Self {
            table: SpinLock::new(Table::default()),
            track: SpinLock::new(MapTrack::new(max_maptrack_frames)),
            max_frames: max_grant_frames,
        }
    }

    /// How many frames its table may have.
    pub const fn max_frames(&self) -> u32 {
        self.max_frames
    }

    /// How many of its entries are in use by others.
    pub fn entries_in_use(&self) -> u32 {
        self.table.lock().in_use()
    }

    /// How many mappings it has of others' frames.
    pub fn mapping_count(&self) -> u32 {
        self.track.lock().len()
    }
}

impl<P> fmt::Debug for Grants<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Grants({} in use, {} mapped)",
            self.entries_in_use(),
            self.mapping_count()
        )
    }
}

/// A domain, as far as grants see it.
pub trait Party: Clone {
    /// Its number.
    fn id(&self) -> DomId;
    /// Its grants.
    fn grants(&self) -> &Grants<Self>;
}

/// Where a mapping's page-table entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The entry that maps this address of the mapper's.
    Address(u64),
    /// The entry at this machine address.
    Entry(u64),
}

/// What mapping asks of memory management, on behalf of the mapper.
pub trait Machine {
    /// Takes a general reference to `frame`, which must belong to `owner`; and, to write it, one
    /// as "writable" page.
    ///
    /// # Errors
    /// When it is not the owner's, or serves as something that must not be written.
    fn hold(&self, owner: DomId, frame: Mfn, access: Access) -> Result<(), Refusal>;

    /// Drops what [`hold`](Self::hold) took.
    fn let_go(&self, frame: Mfn, access: Access);

    /// Writes the page-table entry, which takes references of its own.
    ///
    /// # Errors
    /// When there is no such entry that the mapper may write.
    fn install(
        &self,
        place: Place,
        granter: DomId,
        frame: Mfn,
        flags: MapFlags,
    ) -> Result<(), Refusal>;

    /// Clears the page-table entry, if it still maps `frame` for `access`.
    ///
    /// # Errors
    /// When it does not.
    fn remove(&self, place: Place, frame: Mfn, access: Access) -> Result<(), Refusal>;
}

/// A request to map, decoded.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Which entry of the granter's.
    pub reference: GrantRef,
    /// How.
    pub flags: MapFlags,
    /// Where, if for the CPU.
    pub place: Place,
}

impl Request {
    /// What the mapping may be used for.
    pub fn access(&self) -> Access {
        if self.flags.contains(MapFlags::READONLY) {
            Access::Read
        } else {
            Access::Write
        }
    }

    fn is_for_cpu(&self) -> bool {
        self.flags.contains(MapFlags::HOST_MAP)
    }

    fn is_for_devices(&self) -> bool {
        self.flags.contains(MapFlags::DEVICE_MAP)
    }
}

/// Maps a frame that `granter` grants to `mapper`.
///
/// # Errors
/// The status that the ABI gives each failure; nothing has changed then.
pub fn map<P: Party>(
    mapper: &P,
    granter: &P,
    request: &Request,
    machine: &impl Machine,
) -> Result<(GrantHandle, Mfn), Refusal> {
    if !request.is_for_cpu() && !request.is_for_devices() {
        return Err(GrantStatus::BadGntref.into());
    }
    let handle = mapper.grants().track.lock().reserve()?;
    match map_reserved(mapper, granter, request, machine) {
        Ok(mapping) => {
            let frame = mapping.frame;
            mapper.grants().track.lock().set(handle, mapping);
            Ok((handle, frame))
        }
        Err(status) => {
            mapper.grants().track.lock().release(handle);
            Err(status)
        }
    }
}

fn map_reserved<P: Party>(
    mapper: &P,
    granter: &P,
    request: &Request,
    machine: &impl Machine,
) -> Result<Mapping<P>, Refusal> {
    let access = request.access();
    let frame = begin_use(granter, request.reference, mapper.id(), access, machine)?;
    if request.is_for_cpu()
        && let Err(status) = machine.install(request.place, granter.id(), frame, request.flags)
    {
        end_use(granter, request.reference, frame, access, machine);
        return Err(status);
    }
    Ok(Mapping {
        granter: granter.clone(),
        reference: request.reference,
        frame,
        access,
        host: request.is_for_cpu(),
        contains_pte: matches!(request.place, Place::Entry(_)),
        device: request.is_for_devices(),
    })
}

/// Begins a use of a grant: the entry is marked and the frame held.
///
/// # Errors
/// The status that the ABI gives each failure; nothing has changed then.
///
/// Inlined wherever it is used: each knows the access, and copies do little else.
#[inline(always)]
pub(super) fn begin_use<P: Party>(
    granter: &P,
    reference: GrantRef,
    user: DomId,
    access: Access,
    machine: &impl Machine,
) -> Result<Mfn, Refusal> {
    let frame = granter
        .grants()
        .table
        .lock()
        .begin_use(reference, user, access)?;
    match machine.hold(granter.id(), frame, access) {
        Ok(()) => Ok(frame),
        Err(refusal) => Err(take_back(granter, reference, access, refusal)),
    }
}

/// Ends a use whose frame is not to be had.
#[cold]
fn take_back<P: Party>(
    granter: &P,
    reference: GrantRef,
    access: Access,
    refusal: Refusal,
) -> Refusal {
    granter.grants().table.lock().end_use(reference, access);
    refusal
}

/// Ends what [`begin_use`] began.
#[inline(always)]
pub(super) fn end_use<P: Party>(
    granter: &P,
    reference: GrantRef,
    frame: Mfn,
    access: Access,
    machine: &impl Machine,
) {
    machine.let_go(frame, access);
    granter.grants().table.lock().end_use(reference, access);
}

/// Which parts of a mapping an unmap call means.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// The CPU's mapping, at this address (or, for one made so, this entry's).
    pub host: Option<u64>,
    /// The device mapping, at this bus address.
    pub device: Option<u64>,
}

/// A mapping whose page-table entry is gone, but which TLBs may still hold.
#[must_use = "frame and grant stay held until `finish`"]
pub struct Unmapped<P> {
    handle: GrantHandle,
    mapping: Mapping<P>,
    needs_flush: bool,
}

/// Removes the parts that the call names. The rest follows with [`Unmapped::finish`], after a
/// flush.
///
/// # Errors
/// [`GrantStatus::BadHandle`]; or why a part does not match, and then nothing has changed.
pub fn unmap<P: Party>(
    mapper: &P,
    handle: GrantHandle,
    parts: Parts,
    machine: &impl Machine,
) -> Result<Unmapped<P>, Refusal> {
    let mut mapping = mapper.grants().track.lock().take(handle)?;
    let was_for_cpu = mapping.host;
    match remove_parts(&mut mapping, parts, machine) {
        Ok(()) => Ok(Unmapped {
            needs_flush: was_for_cpu && !mapping.host,
            handle,
            mapping,
        }),
        Err(status) => {
            mapper.grants().track.lock().set(handle, mapping);
            Err(status)
        }
    }
}

fn remove_parts<P>(
    mapping: &mut Mapping<P>,
    parts: Parts,
    machine: &impl Machine,
) -> Result<(), Refusal> {
    if let Some(bus_address) = parts.device
        && mapping.device
        && bus_address >> guest_abi::PAGE_SHIFT != mapping.frame.get()
    {
        return Err(GrantStatus::BadDevAddr.into());
    }
    if let Some(address) = parts.host
        && mapping.host
    {
        let place = if mapping.contains_pte {
            Place::Entry(address)
        } else {
            Place::Address(address)
        };
        machine.remove(place, mapping.frame, mapping.access)?;
        mapping.host = false;
    }
    mapping.device &= parts.device.is_none();
    Ok(())
}

impl<P> fmt::Debug for Unmapped<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unmapped({}, {:?})", self.handle, self.mapping)
    }
}

impl<P> Unmapped<P> {
    /// Whether a page-table entry went, which TLBs may still hold.
    pub const fn needs_flush(&self) -> bool {
        self.needs_flush
    }
}

impl<P: Party> Unmapped<P> {
    /// Lets go of frame and grant, unless another part of the mapping is left. To be called when
    /// no TLB holds the translation any more.
    pub fn finish(self, mapper: &P, machine: &impl Machine) {
        let Self {
            handle, mapping, ..
        } = self;
        if mapping.host || mapping.device {
            mapper.grants().track.lock().set(handle, mapping);
            return;
        }
        end_use(
            &mapping.granter,
            mapping.reference,
            mapping.frame,
            mapping.access,
            machine,
        );
        mapper.grants().track.lock().release(handle);
    }
}

/// Ends mappings of a mapper that dies, in at most `budget` steps; says whether all are gone.
/// Its page tables drop their own holds when they are taken apart.
pub fn release_some<P: Party>(mapper: &P, budget: u32, machine: &impl Machine) -> bool {
    for _ in 0..budget {
        let next = {
            let mut track = mapper.grants().track.lock();
            if track.is_dissolved() {
                return true;
            }
            track.take_any()
        };
        if let Some((handle, mut mapping)) = next {
            mapping.host = false;
            mapping.device = false;
            // No vCPU of a domain that dies runs, and its tables' holds are their own.
            let gone = Unmapped {
                handle,
                mapping,
                needs_flush: false,
            };
            gone.finish(mapper, machine);
        }
    }
    mapper.grants().track.lock().is_dissolved()
}
