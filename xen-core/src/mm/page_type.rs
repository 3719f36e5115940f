//! What a frame is used as: a small state machine, and the atomic word that holds it.
//!
//! A frame has one type at a time, and keeps it for as long as anybody relies on it:
//!
//! ```text
//!            get(Writable)                           put, count 1
//!   idle ──────────────────────────▶ Writable n ──────────────────▶ idle
//!    ▲ │ begin(table)
//!    │ └──────────▶ Validating ──finish──▶ table n ──put, count 1──┐
//!    │                │ suspend(i)     ▲ resume                    │
//!    │                ▼                │                           ▼
//!    └──drained──── Partial(i) ────────┘                      Partial(512)
//! ```
//!
//! `Partial(i)` says that the entries below `i`, and no others, hold references on what they point
//! at. It is where an interrupted validation rests, where a failed one ends, and where a table
//! goes whose last user left; draining it takes `i` down to 0.
//!
//! An idle frame remembers its last type. Taking another one demands that no CPU can still use
//! the old one through its TLB or paging-structure caches: for a table the caller flushes while
//! the state is `Validating`, which nobody else can take; for [`PageType::Writable`] it hands in
//! a [`Flushed`], which is worth something for that idle period only (the generation).

mod kind;
mod word;

use core::fmt;

pub use kind::PageType;
pub use word::TypeWord;

use super::pagetable::entry::Level;

/// How many entries a table page has, as a count of those that hold references.
pub const ENTRIES: u16 = 512;

/// How far a frame is in becoming or ceasing to be what its type says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It is what its type says, to `count` users; idle when there is none.
    Settled,
    /// One walk is checking it; nobody else may touch its type.
    Validating,
    /// Entries below this index hold references; nobody uses it as a table.
    Partial(u16),
}

/// Why a type could not be had or given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeError {
    /// It serves as something else.
    Conflict {
        /// What it is.
        has: PageType,
        /// To how many users.
        count: u32,
        /// What was asked for.
        want: PageType,
    },
    /// Another CPU is changing its type.
    Busy,
    /// The counter is full.
    TooManyRefs,
    /// Pinned already.
    AlreadyPinned,
    /// Not pinned.
    NotPinned,
    /// A reference was given back that nobody held: a bug of the core.
    Underflow,
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { has, count, want } => {
                write!(f, "is {has} (count {count}), wanted {want}")
            }
            Self::Busy => f.write_str("is changing its type"),
            Self::TooManyRefs => f.write_str("has too many users"),
            Self::AlreadyPinned => f.write_str("is pinned already"),
            Self::NotPinned => f.write_str("is not pinned"),
            Self::Underflow => f.write_str("has no user left"),
        }
    }
}

/// Whose CPUs may hold stale translations of a frame that changes its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Only those on which the frame's owner ran.
    Owner,
    /// Any: another domain had it mapped.
    Everyone,
}

/// Proof that no CPU holds a translation from before this idle period of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flushed {
    generation: u64,
}

impl Flushed {
    /// The proof, for the idle period that `state` is in. To be made after the flush.
    pub(super) const fn after(state: TypeState) -> Self {
        Self {
            generation: state.generation(),
        }
    }
}

/// What became of an attempt to take a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Get {
    /// One more user; nothing else to do.
    Counted(TypeState),
    /// The caller flushes, then tries again with the proof.
    Flush(Scope),
    /// The caller must check the entries from `from` on, having flushed if `flush` says so.
    Validate {
        /// The state meanwhile.
        state: TypeState,
        /// The first entry to check.
        from: u16,
        /// Which CPUs to flush before reading any entry.
        flush: Option<Scope>,
    },
    /// An unfinished table of another type is in the way: drain it, then try again.
    Drain,
}

/// What became of a reference given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// Others remain.
    Counted(TypeState),
    /// That was the last user; the frame is idle.
    Idle(TypeState),
    /// That was the last user of a table, whose entries must now be drained.
    Drain(TypeState),
}

/// A frame's current use, and how many rely on it.
///
/// One word, as it lies in memory:
///
/// ```text
///   63       48      38      37     36 35   34  32  31             0
///   generation  …  foreign  pinned  phase   type    count, or entries done
/// ```
///
/// A fresh frame is all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TypeState(u64);

const COUNT: u64 = 0xffff_ffff;
const TYPE_SHIFT: u32 = 32;
const TYPE: u64 = 7 << TYPE_SHIFT;
const PHASE: u64 = 3 << 35;
const VALIDATING: u64 = 1 << 35;
const PARTIAL: u64 = 2 << 35;
const PINNED: u64 = 1 << 37;
const FOREIGN: u64 = 1 << 38;
const GENERATION_SHIFT: u32 = 48;

/// Half the range, so that no sum of two counts overflows in the sweep.
const MAX_COUNT: u64 = COUNT / 2;

impl TypeState {
    /// A frame fresh from the allocator.
    pub const FRESH: Self = Self(0);
    /// A frame fresh from the allocator that one user writes.
    pub const WRITABLE: Self = Self::FRESH.with(PageType::Writable, 0, 1);

    /// The type, or the last one if nobody uses it.
    #[inline]
    pub const fn ty(self) -> PageType {
        PageType::from_bits(self.0 >> TYPE_SHIFT)
    }

    /// Where it stands.
    #[expect(clippy::cast_possible_truncation, reason = "at most 512")]
    pub const fn phase(self) -> Phase {
        match self.0 & PHASE {
            0 => Phase::Settled,
            VALIDATING => Phase::Validating,
            _ => Phase::Partial(self.0 as u16),
        }
    }

    /// How many rely on the type.
    #[inline]
    pub const fn count(self) -> u32 {
        if self.0 & PHASE == 0 {
            (self.0 & COUNT) as u32
        } else {
            0
        }
    }

    /// Whether the guest has pinned it.
    pub const fn is_pinned(self) -> bool {
        self.0 & PINNED != 0
    }

    /// Whether nobody relies on any type.
    pub const fn is_idle(self) -> bool {
        self.0 & (PHASE | COUNT) == 0
    }

    /// The level, if it is a valid page table now.
    #[inline]
    pub const fn live_table(self) -> Option<Level> {
        if self.count() > 0 {
            self.ty().level()
        } else {
            None
        }
    }

    const fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    const fn scope(self) -> Scope {
        if self.0 & FOREIGN == 0 {
            Scope::Owner
        } else {
            Scope::Everyone
        }
    }

    const fn with(self, ty: PageType, phase: u64, low: u64) -> Self {
        Self(self.0 & !(TYPE | PHASE | COUNT) | (ty as u64) << TYPE_SHIFT | phase | low)
    }

    /// Takes one more reference to the frame *as* `want`.
    ///
    /// # Errors
    /// When it serves as something else, or is changing.
    #[inline]
    pub fn get(self, want: PageType, proof: Option<Flushed>) -> Result<Get, TypeError> {
        let is_settled_as_wanted = self.0 & (TYPE | PHASE) == (want as u64) << TYPE_SHIFT;
        let count = self.0 & COUNT;
        if is_settled_as_wanted && count > 0 {
            if count >= MAX_COUNT {
                return Err(TypeError::TooManyRefs);
            }
            return Ok(Get::Counted(Self(self.0 + 1)));
        }
        self.get_changed(want, proof)
    }

    fn get_changed(self, want: PageType, proof: Option<Flushed>) -> Result<Get, TypeError> {
        match self.phase() {
            Phase::Settled if self.count() > 0 => Err(TypeError::Conflict {
                has: self.ty(),
                count: self.count(),
                want,
            }),
            Phase::Settled if want == PageType::Writable => Ok(self.get_idle_writable(proof)),
            Phase::Settled => Ok(self.begin(want, 0)),
            Phase::Validating => Err(TypeError::Busy),
            Phase::Partial(from) if self.ty() == want => Ok(self.begin(want, from)),
            Phase::Partial(_) => Ok(Get::Drain),
        }
    }

    fn get_idle_writable(self, proof: Option<Flushed>) -> Get {
        let clean = matches!(self.ty(), PageType::None | PageType::Writable)
            || proof.is_some_and(|p| p.generation == self.generation());
        if clean {
            Get::Counted(self.with(PageType::Writable, 0, 1))
        } else {
            Get::Flush(self.scope())
        }
    }

    fn begin(self, want: PageType, from: u16) -> Get {
        let clean = self.ty() == want || self.ty() == PageType::None;
        let mut state = self.with(want, VALIDATING, 0);
        if !clean {
            // A flush of everyone makes up for what others had mapped.
            state.0 &= !FOREIGN;
        }
        Get::Validate {
            state,
            from,
            flush: (!clean).then(|| self.scope()),
        }
    }

    /// The walk found nothing wrong: the frame is a table with one user.
    pub const fn finish(self) -> Self {
        self.with(self.ty(), 0, 1)
    }

    /// The walk stops; entries below `done` hold references.
    pub const fn suspend(self, done: u16) -> Self {
        self.with(self.ty(), PARTIAL, done as u64)
    }

    /// No entry holds a reference any more: the frame is idle, in a new idle period.
    pub const fn drained(self) -> Self {
        let idle = self.with(self.ty(), 0, 0);
        Self((idle.0 & !PINNED).wrapping_add(1 << GENERATION_SHIFT))
    }

    /// Gives one reference back; `foreign` when the user was a table of another domain.
    ///
    /// # Errors
    /// [`TypeError::Underflow`] when there was none, which is the core's own bug.
    #[inline]
    pub fn put(self, foreign: bool) -> Result<Put, TypeError> {
        if self.count() == 0 {
            return Err(TypeError::Underflow);
        }
        let less = Self((self.0 - 1) | if foreign { FOREIGN } else { 0 });
        if less.count() > 0 {
            return Ok(Put::Counted(less));
        }
        Ok(match self.ty() {
            PageType::Writable | PageType::None => Put::Idle(less),
            PageType::Descriptors => Put::Idle(less.drained()),
            _ => Put::Drain(less.suspend(ENTRIES)),
        })
    }

    /// Marks a table that has a user as pinned: that user is the pin.
    ///
    /// # Errors
    /// [`TypeError::AlreadyPinned`].
    pub const fn pin(self) -> Result<Self, TypeError> {
        if self.is_pinned() {
            return Err(TypeError::AlreadyPinned);
        }
        Ok(Self(self.0 | PINNED))
    }

    /// Takes the mark off; the caller gives the reference back.
    ///
    /// # Errors
    /// [`TypeError::NotPinned`].
    pub const fn unpin(self) -> Result<Self, TypeError> {
        if !self.is_pinned() {
            return Err(TypeError::NotPinned);
        }
        Ok(Self(self.0 & !PINNED))
    }
}

impl fmt::Debug for TypeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypeState")
            .field("ty", &self.ty())
            .field("phase", &self.phase())
            .field("count", &self.count())
            .field("pinned", &self.is_pinned())
            .field("scope", &self.scope())
            .field("generation", &self.generation())
            .finish()
    }
}

#[cfg(test)]
mod tests;
