//! Who may read and write a node.
//!
//! A node's list starts with its owner, who may do everything; the letter of that first entry is
//! what all domains not named later may do. `n1 r0` reads: owned by domain 1, nothing for others,
//! but domain 0 may read.

use super::Error;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use guest_abi::ids::DomId;

/// Most entries a list may have.
const MAX_ENTRIES: usize = 16;

/// What one entry of a list allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `n`
    None,
    /// `r`
    Read,
    /// `w`
    Write,
    /// `b`
    ReadWrite,
}

impl Access {
    /// Whether reading is allowed.
    pub fn can_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether writing is allowed.
    pub fn can_write(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }

    fn letter(self) -> char {
        match self {
            Self::None => 'n',
            Self::Read => 'r',
            Self::Write => 'w',
            Self::ReadWrite => 'b',
        }
    }

    fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'n' => Self::None,
            b'r' => Self::Read,
            b'w' => Self::Write,
            b'b' => Self::ReadWrite,
            _ => return None,
        })
    }
}

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Whom it is about.
    pub domain: DomId,
    /// What they may do.
    pub access: Access,
}

impl Permission {
    /// Reads an entry as it stands on the wire, e.g. `r3`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (letter, number) = text.split_at_checked(1).ok_or(Error::Invalid)?;
        let access = letter
            .bytes()
            .next()
            .and_then(Access::from_letter)
            .ok_or(Error::Invalid)?;
        let domain = super::serve::parse_number::<u16>(number)?;
        Ok(Self {
            domain: DomId::new(domain),
            access,
        })
    }
}

/// The list of a node. Cheap to clone: most nodes share their parent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    owner: DomId,
    default: Access,
    named: Arc<[Permission]>,
}

impl Permissions {
    /// Owned by `owner`, closed to everybody else but dom0.
    pub fn owned_by(owner: DomId) -> Self {
        Self {
            owner,
            default: Access::None,
            named: Arc::new([]),
        }
    }

    /// Owned by `owner`, readable for `reader`.
    pub fn readable_by(owner: DomId, reader: DomId) -> Self {
        let entry = Permission {
            domain: reader,
            access: Access::Read,
        };
        Self {
            owner,
            default: Access::None,
            named: Arc::new([entry]),
        }
    }

    /// A list from its entries; the first names the owner.
    pub fn from_entries(entries: &[Permission]) -> Result<Self, Error> {
        let (first, named) = entries.split_first().ok_or(Error::Invalid)?;
        if entries.len() > MAX_ENTRIES {
            return Err(Error::NoSpace);
        }
        Ok(Self {
            owner: first.domain,
            default: first.access,
            named: named.into(),
        })
    }

    /// The same list with another owner.
    pub(super) fn with_owner(&self, owner: DomId) -> Self {
        Self {
            owner,
            ..self.clone()
        }
    }

    /// The list without any entry that names `domain`; `None` if there is none.
    ///
    /// The owner is left to the caller: a dead owner's node goes away as a whole.
    pub(super) fn without(&self, domain: DomId) -> Option<Self> {
        if !self.named.iter().any(|entry| entry.domain == domain) {
            return None;
        }
        let named: Vec<_> = self
            .named
            .iter()
            .copied()
            .filter(|e| e.domain != domain)
            .collect();
        Some(Self {
            named: named.into(),
            ..self.clone()
        })
    }

    /// Who owns the node and pays for it.
    pub fn owner(&self) -> DomId {
        self.owner
    }

    /// What `domain` may do. The first entry that names it counts.
    pub fn access_of(&self, domain: DomId) -> Access {
        if domain == self.owner || domain == DomId::new(0) {
            return Access::ReadWrite;
        }
        let entry = self.named.iter().find(|entry| entry.domain == domain);
        entry.map_or(self.default, |entry| entry.access)
    }

    /// The entries, the owner's first.
    pub fn entries(&self) -> impl Iterator<Item = Permission> {
        let first = Permission {
            domain: self.owner,
            access: self.default,
        };
        core::iter::once(first).chain(self.named.iter().copied())
    }

    /// The list as it goes on the wire: every entry followed by a NUL.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        for Permission { domain, access } in self.entries() {
            wire.extend_from_slice(format!("{}{}\0", access.letter(), domain.get()).as_bytes());
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &[&str]) -> Permissions {
        let entries: Vec<_> = text.iter().map(|t| Permission::parse(t).unwrap()).collect();
        Permissions::from_entries(&entries).unwrap()
    }

    #[test]
    fn the_owner_and_dom0_may_do_everything() {
        let closed = list(&["n3"]);
        assert_eq!(closed.access_of(DomId::new(3)), Access::ReadWrite);
        assert_eq!(closed.access_of(DomId::new(0)), Access::ReadWrite);
        assert_eq!(closed.access_of(DomId::new(4)), Access::None);
    }

    #[test]
    fn the_first_letter_is_for_domains_not_named() {
        let open = list(&["r1", "n2", "b3", "w2"]);
        assert_eq!(open.access_of(DomId::new(9)), Access::Read);
        assert_eq!(open.access_of(DomId::new(2)), Access::None);
        assert_eq!(open.access_of(DomId::new(3)), Access::ReadWrite);
    }

    #[test]
    fn the_wire_form_comes_back_unchanged() {
        assert_eq!(list(&["n0", "r3"]).to_wire(), b"n0\0r3\0");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "n", "x1", "r-1", "r65536", "r1x", "1", "\u{e4}1"] {
            assert_eq!(Permission::parse(bad), Err(Error::Invalid), "{bad:?}");
        }
        assert_eq!(Permissions::from_entries(&[]), Err(Error::Invalid));
    }
}
