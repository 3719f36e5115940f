//! A domain's grant table: the frames that it shares with the core, and the core's record of
//! which of its entries are in use.
//!
//! The frames belong to the domain, which maps and writes them as it likes; the record is the
//! core's alone. The table only grows.

use alloc::boxed::Box;
use alloc::vec::Vec;

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::grant_table::{ENTRIES_PER_PAGE, GrantStatus};
use guest_abi::ids::{DomId, GrantRef};

use super::active::{Active, Ask};
use super::entry::{self, Access};
use super::refusal::Refusal;
use crate::arch::shared_page::SharedPage;

/// One frame of the table and the record of its entries.
#[derive(Debug)]
struct TableFrame {
    page: SharedPage,
    active: Box<[Active; ENTRIES_PER_PAGE]>,
}

/// The table of one domain.
#[derive(Debug, Default)]
pub struct Table {
    frames: Vec<TableFrame>,
    in_use: u32,
}

impl Table {
    /// How many frames the table has.
    pub fn len(&self) -> u32 {
        u32::try_from(self.frames.len()).unwrap_or(u32::MAX)
    }

    /// Whether it has none yet.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many entries are mapped or being copied.
    pub const fn in_use(&self) -> u32 {
        self.in_use
    }

    /// The frame numbered `index`.
    pub fn frame(&self, index: u32) -> Option<Mfn> {
        self.frames
            .get(index as usize)
            .map(|frame| frame.page.mfn())
    }

    /// Grows to `count` frames, each supplied by `new_frame`.
    ///
    /// # Errors
    /// `ENOMEM`; the frames added before stay.
    pub fn grow(
        &mut self,
        count: u32,
        mut new_frame: impl FnMut() -> Result<Mfn, Errno>,
    ) -> Result<(), Errno> {
        while self.len() < count {
            self.frames.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let active = idle_entries()?;
            let page = SharedPage::new(new_frame()?);
            self.frames.push(TableFrame { page, active });
        }
        Ok(())
    }

    /// Takes the frames out, when their domain is gone and nobody uses them any more.
    pub fn take_frames(&mut self) -> impl Iterator<Item = Mfn> {
        core::mem::take(&mut self.frames)
            .into_iter()
            .map(|frame| frame.page.mfn())
    }

    /// Begins a use of `reference` by `mapper`: returns the frame granted.
    ///
    /// # Errors
    /// [`GrantStatus::BadGntref`] beyond the table; otherwise see [`EntryWord::used_by`] and
    /// [`Active::ask`].
    ///
    /// [`EntryWord::used_by`]: super::entry::EntryWord::used_by
    #[inline(always)]
    pub fn begin_use(
        &mut self,
        reference: GrantRef,
        mapper: DomId,
        access: Access,
    ) -> Result<Mfn, Refusal> {
        let (page, index, active) = self.locate(reference).ok_or(GrantStatus::BadGntref)?;
        let word = page.atomic_u32(index * ENTRY);
        if !active.is_idle() {
            return use_again(active, word, mapper, access);
        }
        entry::take(word, mapper, access)?;
        // Read only now: the entry is marked, so a granter that plays by the rules no longer
        // changes it, and for one that does not, whatever is read is checked.
        let frame = entry::Word::read(page.atomic_u32(index * ENTRY + FRAME));
        let first = Active::first(mapper, frame, access);
        *active = first;
        self.in_use += 1;
        Ok(first.frame())
    }

    /// Ends a use that [`begin_use`](Self::begin_use) began.
    #[inline(always)]
    pub fn end_use(&mut self, reference: GrantRef, access: Access) {
        let Some((page, index, active)) = self.locate(reference) else {
            return;
        };
        let (rest, over) = active.unused(access);
        *active = rest;
        entry::release(page.atomic_u32(index * ENTRY), over);
        if rest.is_idle() {
            self.in_use -= 1;
        }
    }

    /// The page that an entry lies in, its place there, and the record of it.
    #[inline]
    fn locate(&mut self, reference: GrantRef) -> Option<(SharedPage, usize, &mut Active)> {
        let reference = reference.get() as usize;
        let frame = self.frames.get_mut(reference / ENTRIES_PER_PAGE)?;
        let index = reference % ENTRIES_PER_PAGE;
        Some((frame.page, index, &mut frame.active[index]))
    }
}

/// Begins a use of an entry that is in use already.
#[cold]
fn use_again(
    active: &mut Active,
    word: &impl entry::Word,
    mapper: DomId,
    access: Access,
) -> Result<Mfn, Refusal> {
    match active.ask(mapper, access)? {
        Ask::Take => entry::take(word, mapper, access)?,
        Ask::Nothing => {}
    }
    *active = active.used(access);
    Ok(active.frame())
}

/// A record of entries that nobody uses.
fn idle_entries() -> Result<Box<[Active; ENTRIES_PER_PAGE]>, Errno> {
    let mut active = Vec::new();
    active
        .try_reserve_exact(ENTRIES_PER_PAGE)
        .map_err(|_| Errno::ENOMEM)?;
    active.resize(ENTRIES_PER_PAGE, Active::default());
    active.try_into().map_err(|_| Errno::ENOMEM)
}

/// Bytes of an entry, and where its frame number lies in it.
const ENTRY: usize = size_of::<guest_abi::grant_table::GrantEntryV1>();
const FRAME: usize = core::mem::offset_of!(guest_abi::grant_table::GrantEntryV1, frame);
