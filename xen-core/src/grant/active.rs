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

/// The core's own record of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    frame: Mfn,
    mapper: DomId,
    readers: u32,
    writers: u32,
}

/// What one more use asks of the shared entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Take the entry and read its frame: nobody uses it yet.
    TakeAndRead,
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
        self.frame
    }

    /// What a use by `mapper` must do with the shared entry first.
    ///
    /// # Errors
    /// When the entry is in use by another domain, or too often.
    pub fn ask(self, mapper: DomId, access: Access) -> Result<Ask, Refusal> {
        if self.is_idle() {
            return Ok(Ask::TakeAndRead);
        }
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

    /// The entry with its frame fixed, ahead of the first use.
    #[must_use]
    pub const fn fixed(self, mapper: DomId, frame: Mfn) -> Self {
        Self {
            frame,
            mapper,
            ..self
        }
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
    fn only_the_first_use_reads_the_frame() {
        let idle = Active::default();
        assert_eq!(idle.ask(MAPPER, Access::Read), Ok(Ask::TakeAndRead));
        let read = idle.fixed(MAPPER, Mfn::new(7)).used(Access::Read);
        assert_eq!(read.ask(MAPPER, Access::Read), Ok(Ask::Nothing));
        assert_eq!(read.ask(MAPPER, Access::Write), Ok(Ask::Take));
        assert!(read.ask(DomId::new(2), Access::Read).is_err());
    }

    #[test]
    fn the_marks_end_with_the_last_use_of_their_kind() {
        let both = Active::default()
            .fixed(MAPPER, Mfn::new(7))
            .used(Access::Read)
            .used(Access::Write);
        let (read, over) = both.unused(Access::Write);
        assert_eq!(over, GrantEntryFlags::WRITING);
        let (idle, over) = read.unused(Access::Read);
        assert_eq!(over, GrantEntryFlags::READING);
        assert!(idle.is_idle());
        let (_, over) = both.unused(Access::Read);
        assert_eq!(over, GrantEntryFlags::empty());
    }
}
