//! The atomic word that holds a frame's state.

use core::sync::atomic::{AtomicU64, Ordering};

use zerocopy::FromZeros;

use super::{COUNT, MAX_COUNT, PHASE, PageType, TYPE, TYPE_SHIFT, TypeState};

/// The atomic word of a frame that holds its [`TypeState`].
#[derive(Debug, Default, FromZeros)]
#[repr(transparent)]
pub struct TypeWord(AtomicU64);

impl TypeWord {
    /// The state now. Another CPU may change it at once.
    #[inline]
    pub fn load(&self) -> TypeState {
        TypeState(self.0.load(Ordering::Acquire))
    }

    /// Sets the state of a frame that nobody else can see or change.
    pub fn store(&self, state: TypeState) {
        self.0.store(state.0, Ordering::Release);
    }

    /// Takes one more reference as `want`, if there are users of that type already: what
    /// [`TypeState::get`] answers with [`Get::Counted`](super::Get::Counted) then, in the few instructions it takes.
    #[inline]
    pub fn get_shared(&self, want: PageType) -> bool {
        let wanted = (want as u64) << TYPE_SHIFT;
        let mut bits = self.0.load(Ordering::Acquire);
        while bits & (TYPE | PHASE) == wanted && (1..MAX_COUNT).contains(&(bits & COUNT)) {
            match self.swap(bits, bits + 1) {
                Ok(()) => return true,
                Err(now) => bits = now,
            }
        }
        false
    }

    /// Gives one reference back, if others of the domain's own remain: what [`TypeState::put`]
    /// answers with [`Put::Counted`](super::Put::Counted) then.
    #[inline]
    pub fn put_shared(&self) -> bool {
        let mut bits = self.0.load(Ordering::Acquire);
        while bits & PHASE == 0 && bits & COUNT > 1 {
            match self.swap(bits, bits - 1) {
                Ok(()) => return true,
                Err(now) => bits = now,
            }
        }
        false
    }

    fn swap(&self, from: u64, to: u64) -> Result<(), u64> {
        self.0
            .compare_exchange_weak(from, to, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
    }

    /// Applies one transition, again and again until no other CPU interferes.
    ///
    /// # Errors
    /// Whatever the transition answers; the state is unchanged then.
    #[inline]
    pub fn change<R, E>(
        &self,
        mut transition: impl FnMut(TypeState) -> Result<(Option<TypeState>, R), E>,
    ) -> Result<R, E> {
        let mut bits = self.0.load(Ordering::Acquire);
        loop {
            let (next, result) = transition(TypeState(bits))?;
            let Some(next) = next else {
                return Ok(result);
            };
            match self
                .0
                .compare_exchange_weak(bits, next.0, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(result),
                Err(now) => bits = now,
            }
        }
    }
}
