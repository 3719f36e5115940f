//! The word of a grant entry that guest and core both change: flags and grantee.
//!
//! ```text
//!   bit 31              16 15                    4   3   2  1-0
//!       │  grantee's domid │ …                 WRT RDG  RO type │
//! ```
//!
//! The granter may revoke at any moment by exchanging the word against 0, which it must do only
//! while neither "reading" nor "writing" is set. The core therefore takes an entry by one
//! compare-exchange of the whole word: either the grant still stands and is now marked in use, or
//! it is gone. Only after that is the frame number read. When the last use ends, the core clears
//! its two bits and leaves the rest alone.

use guest_abi::grant_table::{GTF_PERMIT_ACCESS, GTF_TYPE_MASK, GrantEntryFlags};
use guest_abi::ids::DomId;

use super::refusal::Refusal;

/// A granter that keeps changing the word under our hands gets this many chances.
const ATTEMPTS: u32 = 5;

/// How a granted frame is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// An atomic 32-bit word shared with a guest (or a model of one).
pub trait Word {
    /// The value now.
    fn read(&self) -> u32;
    /// Writes `new` if the value is `old`; says whether it was.
    fn exchange(&self, old: u32, new: u32) -> bool;
    /// Clears `bits`.
    fn clear_bits(&self, bits: u32);
}

impl Word for core::sync::atomic::AtomicU32 {
    fn read(&self) -> u32 {
        self.load(core::sync::atomic::Ordering::SeqCst)
    }

    fn exchange(&self, old: u32, new: u32) -> bool {
        use core::sync::atomic::Ordering::SeqCst;
        self.compare_exchange(old, new, SeqCst, SeqCst).is_ok()
    }

    fn clear_bits(&self, bits: u32) {
        self.fetch_and(!bits, core::sync::atomic::Ordering::SeqCst);
    }
}

/// The part that says whether something is granted, and to whom.
const GRANTED: u32 = 0xffff << 16 | GTF_TYPE_MASK as u32;
const READONLY: u32 = GrantEntryFlags::READONLY.bits() as u32;

/// A copy of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryWord(u32);

impl EntryWord {
    /// The word as read.
    pub const fn new(word: u32) -> Self {
        Self(word)
    }

    /// The word of a grant of full access to `grantee`.
    pub const fn permit(grantee: DomId, flags: GrantEntryFlags) -> Self {
        Self((grantee.get() as u32) << 16 | (GTF_PERMIT_ACCESS | flags.bits()) as u32)
    }

    /// The raw word.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The entry, marked as in use by `mapper` for `access`.
    ///
    /// # Errors
    /// When it grants nothing, or not to `mapper`, or not that.
    #[inline]
    pub fn used_by(self, mapper: DomId, access: Access) -> Result<Self, Refusal> {
        if self.0 & GRANTED != Self::permit(mapper, GrantEntryFlags::empty()).0 {
            return Err(Refusal::NotGranted(self.0));
        }
        if access == Access::Write && self.0 & READONLY != 0 {
            return Err(Refusal::ReadOnly);
        }
        let mark = match access {
            Access::Read => GrantEntryFlags::READING,
            Access::Write => GrantEntryFlags::READING.union(GrantEntryFlags::WRITING),
        };
        Ok(Self(self.0 | u32::from(mark.bits())))
    }
}

/// Marks the shared entry as in use.
///
/// # Errors
/// As [`EntryWord::used_by`]; also when the granter never stops changing the word.
#[inline]
pub fn take(word: &impl Word, mapper: DomId, access: Access) -> Result<(), Refusal> {
    if try_take(word, mapper, access)? {
        return Ok(());
    }
    take_changing(word, mapper, access)
}

/// The granter has changed the word meanwhile: once more.
#[cold]
fn take_changing(word: &impl Word, mapper: DomId, access: Access) -> Result<(), Refusal> {
    for _ in 1..ATTEMPTS {
        if try_take(word, mapper, access)? {
            return Ok(());
        }
    }
    Err(Refusal::Changing)
}

#[inline]
fn try_take(word: &impl Word, mapper: DomId, access: Access) -> Result<bool, Refusal> {
    let before = EntryWord::new(word.read());
    let after = before.used_by(mapper, access)?;
    Ok(word.exchange(before.get(), after.get()))
}

/// Ends the marks that `flags` names.
#[inline]
pub fn release(word: &impl Word, flags: GrantEntryFlags) {
    if !flags.is_empty() {
        word.clear_bits(u32::from(flags.bits()));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Access, EntryWord, Refusal, release, take};
    use core::sync::atomic::{AtomicU32, Ordering};
    use guest_abi::grant_table::GrantEntryFlags;
    use guest_abi::ids::DomId;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    const MAPPER: DomId = DomId::new(5);

    #[test]
    fn a_grant_to_another_domain_is_refused() {
        let word = EntryWord::permit(DomId::new(6), GrantEntryFlags::empty());
        assert_eq!(
            word.used_by(MAPPER, Access::Read),
            Err(Refusal::NotGranted(word.get()))
        );
    }

    #[test]
    fn a_readonly_grant_refuses_writing() {
        let word = EntryWord::permit(MAPPER, GrantEntryFlags::READONLY);
        assert_eq!(word.used_by(MAPPER, Access::Write), Err(Refusal::ReadOnly));
        assert!(word.used_by(MAPPER, Access::Read).is_ok());
    }

    #[test]
    fn using_and_releasing_leaves_the_word_as_it_was() {
        let start = EntryWord::permit(MAPPER, GrantEntryFlags::empty()).get();
        let word = AtomicU32::new(start);
        take(&word, MAPPER, Access::Write).unwrap();
        assert_eq!(word.load(Ordering::SeqCst), start | 0b1_1000);
        release(&word, GrantEntryFlags::READING | GrantEntryFlags::WRITING);
        assert_eq!(word.load(Ordering::SeqCst), start);
    }

    proptest! {
        /// For all 2³² words: only plain grants to the mapper are taken, and taking them adds
        /// the core's two bits and nothing else.
        #[test]
        fn hostile_words_gain_only_the_cores_bits(raw in any::<u32>(), write in any::<bool>()) {
            let access = if write { Access::Write } else { Access::Read };
            if let Ok(used) = EntryWord::new(raw).used_by(MAPPER, access) {
                prop_assert_eq!(raw & 3, 1);
                prop_assert_eq!(raw >> 16, 5);
                prop_assert!(!write || raw & 4 == 0);
                prop_assert_eq!(used.get() & !0b1_1000, raw & !0b1_1000);
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::{Access, EntryWord, Word, release, take};
    use guest_abi::grant_table::GrantEntryFlags;
    use guest_abi::ids::DomId;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};

    const MAPPER: DomId = DomId::new(5);
    const IN_USE: u32 = 0b1_1000;

    struct Model(AtomicU32);

    impl Word for Model {
        fn read(&self) -> u32 {
            self.0.load(SeqCst)
        }
        fn exchange(&self, old: u32, new: u32) -> bool {
            self.0.compare_exchange(old, new, SeqCst, SeqCst).is_ok()
        }
        fn clear_bits(&self, bits: u32) {
            self.0.fetch_and(!bits, SeqCst);
        }
    }

    /// Either the mapper gets the grant or the granter takes it back; never both.
    #[test]
    fn a_grant_is_used_or_revoked_but_not_both() {
        loom::model(|| {
            let start = EntryWord::permit(MAPPER, GrantEntryFlags::empty()).get();
            let word = Arc::new(Model(AtomicU32::new(start)));
            let granter = {
                let word = word.clone();
                loom::thread::spawn(move || {
                    let seen = word.0.load(SeqCst);
                    seen & IN_USE == 0 && word.exchange(seen, 0)
                })
            };
            let used = take(&*word, MAPPER, Access::Write).is_ok();
            let revoked = granter.join().unwrap();
            assert!(!(used && revoked));
            if used {
                release(&*word, GrantEntryFlags::READING | GrantEntryFlags::WRITING);
                assert_eq!(word.0.load(SeqCst), start);
            }
        });
    }
}
