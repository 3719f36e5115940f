//! What a domain has mapped of others: handle → mapping.
//!
//! A handle names one mapping from the map call to the unmap call. Between the first step of
//! either and the last, the slot is *busy*: no other call finds it, so of two racing unmaps one
//! gets the mapping and the other [`GrantStatus::BadHandle`].

use alloc::vec::Vec;
use core::fmt;

use guest_abi::frame::Mfn;
use guest_abi::grant_table::GrantStatus;
use guest_abi::ids::{GrantHandle, GrantRef};

use super::entry::Access;
use crate::mm;

/// Mappings that the toolstack's "maptrack frame" stands for.
pub const ENTRIES_PER_FRAME: u32 = 256;

/// A foreign frame in use.
#[derive(Clone)]
pub struct Mapping<P> {
    /// Whose frame.
    pub granter: P,
    /// By which grant.
    pub reference: GrantRef,
    /// The frame.
    pub frame: Mfn,
    /// What the mapper may do with it.
    pub access: Access,
    /// Whether it is mapped for the CPU.
    pub host: bool,
    /// Whether its page-table entry is named by the entry's own address.
    pub contains_pte: bool,
    /// Whether it is mapped for devices.
    pub device: bool,
}

impl<P> fmt::Debug for Mapping<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Mapping(ref {}, {}, {:?})",
            self.reference, self.frame, self.access
        )
    }
}

enum Slot<P> {
    /// The next free slot after this.
    Free(Option<u32>),
    /// A map or unmap call is at work on it.
    Busy,
    Mapped(Mapping<P>),
}

/// All mappings of one domain.
pub struct MapTrack<P> {
    /// All full but the last one, whose slots are made as they are needed: a lone mapping makes
    /// one, not 256.
    chunks: Vec<Vec<Slot<P>>>,
    /// The slot released last.
    free: Option<u32>,
    limit: u32,
    used: u32,
}

impl<P> fmt::Debug for MapTrack<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapTrack({} mapped)", self.used)
    }
}

impl<P> MapTrack<P> {
    /// No mappings; at most `max_frames` maptrack frames' worth.
    pub const fn new(max_frames: u32) -> Self {
        Self {
            chunks: Vec::new(),
            free: None,
            limit: max_frames,
            used: 0,
        }
    }

    /// How many mappings there are, those in the making included.
    pub const fn len(&self) -> u32 {
        self.used
    }

    /// Whether nothing is mapped.
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// A handle for a mapping in the making.
    ///
    /// # Errors
    /// [`GrantStatus::NoSpace`] at the domain's limit, or when the core has no memory.
    pub fn reserve(&mut self) -> Result<GrantHandle, GrantStatus> {
        let index = match self.free {
            Some(index) => self.reuse(index)?,
            None => self.make()?,
        };
        self.used += 1;
        Ok(GrantHandle::new(index))
    }

    /// Takes a slot off the list of free ones, where it is the first.
    fn reuse(&mut self, index: u32) -> Result<u32, GrantStatus> {
        let slot = self.slot(index).ok_or(GrantStatus::NoSpace)?;
        let Slot::Free(next) = *slot else {
            return Err(GrantStatus::NoSpace);
        };
        *slot = Slot::Busy;
        self.free = next;
        Ok(index)
    }

    /// Makes a slot in the last chunk, or in a new one.
    fn make(&mut self) -> Result<u32, GrantStatus> {
        let is_full = |chunk: &Vec<_>| chunk.len() == ENTRIES_PER_FRAME as usize;
        if self.chunks.last().is_none_or(is_full) {
            self.grow()?;
        }
        let before = u32::try_from(self.chunks.len())
            .unwrap_or(u32::MAX)
            .saturating_sub(1);
        let chunk = self.chunks.last_mut().ok_or(GrantStatus::NoSpace)?;
        let offset = u32::try_from(chunk.len()).map_err(|_| GrantStatus::NoSpace)?;
        // There is room: the chunk was given all of its memory when it was made.
        chunk.push(Slot::Busy);
        Ok(before * ENTRIES_PER_FRAME + offset)
    }

    /// Completes a mapping, or puts back what an unmap call left of it.
    pub fn set(&mut self, handle: GrantHandle, mapping: Mapping<P>) {
        if let Some(slot @ Slot::Busy) = self.slot(handle.get()) {
            *slot = Slot::Mapped(mapping);
        }
    }

    /// Hands the mapping to an unmap call; the handle stays busy.
    ///
    /// # Errors
    /// [`GrantStatus::BadHandle`] when it names no mapping, or another call has it.
    pub fn take(&mut self, handle: GrantHandle) -> Result<Mapping<P>, GrantStatus> {
        let slot = self.slot(handle.get()).ok_or(GrantStatus::BadHandle)?;
        match core::mem::replace(slot, Slot::Busy) {
            Slot::Mapped(mapping) => Ok(mapping),
            other => {
                *slot = other;
                Err(GrantStatus::BadHandle)
            }
        }
    }

    /// Frees a busy handle. The last one takes the memory with it: a domain that maps nothing
    /// costs nothing, however much it mapped once.
    pub fn release(&mut self, handle: GrantHandle) {
        let next = self.free;
        if let Some(slot @ Slot::Busy) = self.slot(handle.get()) {
            *slot = Slot::Free(next);
            self.free = Some(handle.get());
            self.used -= 1;
        }
        if self.used == 0 {
            self.chunks = Vec::new();
            self.free = None;
        }
    }

    /// Takes the last mapping of the last chunk out, for a domain that dies; looks at no more
    /// than one chunk a call. `None` when the chunk held none, with the chunk gone.
    pub fn take_any(&mut self) -> Option<(GrantHandle, Mapping<P>)> {
        let chunk = self.chunks.len().checked_sub(1)?;
        let found = self
            .chunks
            .last()?
            .iter()
            .rposition(|slot| matches!(slot, Slot::Mapped(_)));
        let Some(offset) = found else {
            self.free = None;
            self.chunks.pop();
            return None;
        };
        let index = u32::try_from(chunk * ENTRIES_PER_FRAME as usize + offset).ok()?;
        let handle = GrantHandle::new(index);
        self.take(handle).ok().map(|mapping| (handle, mapping))
    }

    /// Whether the last chunk is gone, too.
    pub fn is_dissolved(&self) -> bool {
        self.chunks.is_empty()
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot<P>> {
        self.chunks
            .get_mut((index / ENTRIES_PER_FRAME) as usize)?
            .get_mut((index % ENTRIES_PER_FRAME) as usize)
    }

    /// Adds a chunk, whose memory is there and whose slots are not.
    fn grow(&mut self) -> Result<(), GrantStatus> {
        let chunks = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        let last = chunks.checked_add(1);
        let fits = last.is_some_and(|count| count.checked_mul(ENTRIES_PER_FRAME).is_some());
        if chunks >= self.limit || !fits || mm::is_short() {
            return Err(GrantStatus::NoSpace);
        }
        self.chunks
            .try_reserve(1)
            .map_err(|_| GrantStatus::NoSpace)?;
        let mut slots = Vec::new();
        slots
            .try_reserve_exact(ENTRIES_PER_FRAME as usize)
            .map_err(|_| GrantStatus::NoSpace)?;
        self.chunks.push(slots);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES_PER_FRAME, MapTrack, Mapping};
    use crate::grant::entry::Access;
    use guest_abi::frame::Mfn;
    use guest_abi::grant_table::GrantStatus;
    use guest_abi::ids::{GrantHandle, GrantRef};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use std::collections::BTreeMap;

    fn mapping(reference: u32) -> Mapping<()> {
        Mapping {
            granter: (),
            reference: GrantRef::new(reference),
            frame: Mfn::new(1),
            access: Access::Read,
            host: true,
            contains_pte: false,
            device: false,
        }
    }

    #[test]
    fn a_mapping_is_taken_exactly_once() {
        let mut track = MapTrack::new(1);
        let handle = track.reserve().unwrap();
        assert_eq!(track.take(handle).unwrap_err(), GrantStatus::BadHandle);
        track.set(handle, mapping(4));
        assert_eq!(track.take(handle).unwrap().reference, GrantRef::new(4));
        assert_eq!(track.take(handle).unwrap_err(), GrantStatus::BadHandle);
        track.release(handle);
        track.release(handle);
        assert!(track.is_empty());
    }

    #[test]
    fn the_quota_holds() {
        let mut track = MapTrack::<()>::new(2);
        for _ in 0..2 * ENTRIES_PER_FRAME {
            track.reserve().unwrap();
        }
        assert_eq!(track.reserve(), Err(GrantStatus::NoSpace));
        track.release(GrantHandle::new(300));
        assert_eq!(track.reserve(), Ok(GrantHandle::new(300)));
        assert_eq!(
            track.take(GrantHandle::new(u32::MAX)).unwrap_err(),
            GrantStatus::BadHandle
        );
    }

    #[test]
    fn who_maps_nothing_any_more_keeps_no_table() {
        let mut track = MapTrack::new(3);
        let handles: Vec<_> = (0..600).map(|_| track.reserve().unwrap()).collect();
        let (last, others) = handles.split_last().unwrap();
        others.iter().for_each(|handle| track.release(*handle));
        assert!(!track.is_dissolved());
        track.set(*last, mapping(7));
        assert_eq!(track.take(*last).unwrap().reference, GrantRef::new(7));
        track.release(*last);
        assert!(track.is_dissolved());
        assert_eq!(track.reserve(), Ok(GrantHandle::new(0)));
    }

    #[test]
    fn a_dying_mappers_track_dissolves() {
        let mut track = MapTrack::new(3);
        let handles: Vec<_> = (0..600).map(|_| track.reserve().unwrap()).collect();
        handles
            .iter()
            .for_each(|handle| track.set(*handle, mapping(handle.get())));
        let mut taken = 0;
        while !track.is_dissolved() {
            if let Some((handle, _)) = track.take_any() {
                track.release(handle);
                taken += 1;
            }
        }
        assert_eq!(taken, 600);
        assert!(track.is_empty());
    }

    #[test]
    fn slots_are_made_one_by_one_and_used_again() {
        let mut track = MapTrack::<()>::new(2);
        let made = |track: &MapTrack<()>| track.chunks.iter().map(Vec::len).sum::<usize>();
        let first = track.reserve().unwrap();
        assert_eq!((made(&track), track.chunks.len()), (1, 1));
        let second = track.reserve().unwrap();
        track.release(first);
        assert_eq!(track.reserve(), Ok(first));
        assert_eq!(made(&track), 2);
        let beyond = GrantHandle::new(second.get() + 1);
        assert_eq!(track.take(beyond).unwrap_err(), GrantStatus::BadHandle);
        for expected in 2..=ENTRIES_PER_FRAME {
            assert_eq!(track.reserve(), Ok(GrantHandle::new(expected)));
        }
        assert_eq!(track.chunks.len(), 2);
    }

    proptest! {
        #[test]
        fn handles_behave_like_a_map(ops in proptest::collection::vec(any::<(u8, u16)>(), 1..400)) {
            let mut track = MapTrack::new(1);
            let mut model = BTreeMap::new();
            for (op, value) in ops {
                let handle = GrantHandle::new(u32::from(value % 300));
                if op % 2 == 0 {
                    match track.reserve() {
                        Ok(new) => {
                            prop_assert!(model.insert(new, u32::from(value)).is_none());
                            track.set(new, mapping(u32::from(value)));
                        }
                        Err(_) => prop_assert_eq!(model.len(), 256),
                    }
                } else {
                    let taken = track.take(handle).ok().map(|m| m.reference.get());
                    prop_assert_eq!(taken, model.remove(&handle));
                    if taken.is_some() {
                        track.release(handle);
                    }
                }
                prop_assert_eq!(track.len() as usize, model.len());
            }
        }
    }
}
