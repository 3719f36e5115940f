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
    active: Box<[Active]>,
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
            let mut active = Vec::new();
            active
                .try_reserve_exact(ENTRIES_PER_PAGE)
                .map_err(|_| Errno::ENOMEM)?;
            active.resize(ENTRIES_PER_PAGE, Active::default());
            let page = SharedPage::new(new_frame()?);
            self.frames.push(TableFrame {
                page,
                active: active.into_boxed_slice(),
            });
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
    pub fn begin_use(
        &mut self,
        reference: GrantRef,
        mapper: DomId,
        access: Access,
    ) -> Result<Mfn, Refusal> {
        let (page, index) = self.locate(reference).ok_or(GrantStatus::BadGntref)?;
        let active = page.active.get_mut(index).ok_or(GrantStatus::BadGntref)?;
        let word = page.page.atomic_u32(index * ENTRY);
        let first = active.is_idle();
        let fixed = match active.ask(mapper, access)? {
            Ask::TakeAndRead => {
                entry::take(word, mapper, access)?;
                // Read only now: the entry is marked, so a granter that plays by the rules no
                // longer changes it, and for one that does not, whatever is read is checked.
                let frame = entry::Word::read(page.page.atomic_u32(index * ENTRY + FRAME));
                active.fixed(mapper, Mfn::new(u64::from(frame)))
            }
            Ask::Take => {
                entry::take(word, mapper, access)?;
                *active
            }
            Ask::Nothing => *active,
        };
        *active = fixed.used(access);
        self.in_use += u32::from(first);
        Ok(fixed.frame())
    }

    /// Ends a use that [`begin_use`](Self::begin_use) began.
    pub fn end_use(&mut self, reference: GrantRef, access: Access) {
        let Some((page, index)) = self.locate(reference) else {
            return;
        };
        let Some(active) = page.active.get_mut(index) else {
            return;
        };
        let (rest, over) = active.unused(access);
        *active = rest;
        entry::release(page.page.atomic_u32(index * ENTRY), over);
        self.in_use -= u32::from(rest.is_idle());
    }

    fn locate(&mut self, reference: GrantRef) -> Option<(&mut TableFrame, usize)> {
        let reference = reference.get() as usize;
        let frame = self.frames.get_mut(reference / ENTRIES_PER_PAGE)?;
        Some((frame, reference % ENTRIES_PER_PAGE))
    }
}

/// Bytes of an entry, and where its frame number lies in it.
const ENTRY: usize = size_of::<guest_abi::grant_table::GrantEntryV1>();
const FRAME: usize = core::mem::offset_of!(guest_abi::grant_table::GrantEntryV1, frame);
