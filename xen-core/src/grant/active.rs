//! How often an entry is in use, as a pure machine.
//!
//! The first use reads the entry and fixes its frame and grantee; later uses count up and look at
//! the entry again only where they need more than what it was taken for. The guest may rewrite
//! its entry meanwhile: what counts is what was fixed.

use guest_abi::frame::Mfn;
use guest_abi::grant_table::GrantEntryFlags;
use guest_abi::ids::DomId;

use super::entry::Access;
use super::refusal::Refusal;

/// The core's own record of one entry. All zero: nobody uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// As wide as in the entry.
    frame: u32,
    mapper: DomId,
    readers: u32,
    writers: u32,
}

/// What one more use of an entry in use asks of the shared word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Take the entry for writing, too: so far it is only read.
    Take,
    /// Nothing.
    Nothing,
}

impl Active {
    /// Whether nobody uses the entry.
    pub const fn is_idle(self) -> bool {
        self.readers == 0 && self.writers == 0
    }

    /// The frame that the uses go to.
    pub const fn frame(self) -> Mfn {
        Mfn::new(self.frame as u64)
    }

    /// The first use: of what the entry, now taken, says.
    #[must_use]
    pub const fn first(mapper: DomId, frame: u32, access: Access) -> Self {
        let (readers, writers) = match access {
            Access::Read => (1, 0),
            Access::Write => (0, 1),
        };
        Self {
            frame,
            mapper,
            readers,
            writers,
        }
    }

    /// What one more use by `mapper` must do with the shared word first.
    ///
    /// # Errors
    /// When the entry is in use by another domain, or too often.
    pub fn ask(self, mapper: DomId, access: Access) -> Result<Ask, Refusal> {
        if self.mapper != mapper {
            return Err(Refusal::InUse(self.mapper));
        }
        if self.readers == u32::MAX || self.writers == u32::MAX {
            return Err(Refusal::TooOften);
        }
        Ok(match access {
            Access::Write if self.writers == 0 => Ask::Take,
            _ => Ask::Nothing,
        })
    }

    /// One more use, whose [`Ask`] has been answered.
    #[must_use]
    pub const fn used(mut self, access: Access) -> Self {
        match access {
            Access::Read => self.readers += 1,
            Access::Write => self.writers += 1,
        }
        self
    }

    /// One use fewer, and the marks on the shared entry that end with it.
    #[must_use]
    #[inline]
    pub fn unused(mut self, access: Access) -> (Self, GrantEntryFlags) {
        let count = match access {
            Access::Read => &mut self.readers,
            Access::Write => &mut self.writers,
        };
        debug_assert!(*count > 0, "a use ends only once");
        *count = count.saturating_sub(1);
        let mut over = GrantEntryFlags::empty();
        if access == Access::Write && self.writers == 0 {
            over |= GrantEntryFlags::WRITING;
        }
        if self.is_idle() {
            over |= GrantEntryFlags::READING;
        }
        (self, over)
    }
}

#[cfg(test)]
mod tests {
    use super::{Active, Ask};
    use crate::grant::entry::Access;
    use guest_abi::frame::Mfn;
    use guest_abi::grant_table::GrantEntryFlags;
    use guest_abi::ids::DomId;

    const MAPPER: DomId = DomId::new(1);

    #[test]
    fn later_uses_take_the_entry_only_for_more_than_before() {
        let read = Active::first(MAPPER, 7, Access::Read);
        assert_eq!(read.ask(MAPPER, Access::Read), Ok(Ask::Nothing));
        assert_eq!(read.ask(MAPPER, Access::Write), Ok(Ask::Take));
        assert!(read.ask(DomId::new(2), Access::Read).is_err());
        let written = Active::first(MAPPER, 7, Access::Write);
        assert_eq!(written.ask(MAPPER, Access::Write), Ok(Ask::Nothing));
        assert_eq!(written.frame(), Mfn::new(7));
    }

    #[test]
    fn the_marks_end_with_the_last_use_of_their_kind() {
        let both = Active::first(MAPPER, 7, Access::Read).used(Access::Write);
        let (read, over) = both.unused(Access::Write);
        assert_eq!(over, GrantEntryFlags::WRITING);
        let (idle, over) = read.unused(Access::Read);
        assert_eq!(over, GrantEntryFlags::READING);
        assert!(idle.is_idle());
        let (_, over) = both.unused(Access::Read);
        assert_eq!(over, GrantEntryFlags::empty());
    }
}
