//! The balloon: as much memory as the toolstack wants this domain to have.
//!
//! The toolstack writes `memory/target`, in KiB. [`Balloon::run`] brings the domain nearer to it, a
//! bounded step at a time: it gives free pages back to the hypervisor, or takes pages from it, up to
//! `memory/static-max`. A kernel calls it from its loop while it says [`Balance::Moving`].

use alloc::vec::Vec;

use crate::{
    memory::{self, Hole},
    xenbus::{Store, StoreError},
};

/// The token of the balloon's watch.
pub const TOKEN: &str = "balloon";
const TARGET: &str = "memory/target";
const MAXIMUM: &str = "memory/static-max";
/// Pages in one step.
const STEP: u64 = 512;
/// KiB in a page.
const KIB_PER_PAGE: u64 = 4;

/// How the balloon stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The domain has what it should have.
    Even,
    /// There is more to do: call again.
    Moving,
    /// There is more to do, but no free page to give, or none to be had: call again later.
    Stuck,
}

/// What is to be done next, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Give(u64),
    Take(u64),
}

/// The next step from what the domain has towards what it should have.
fn step(now: u64, target: u64) -> Step {
    if now > target {
        Step::Give((now - target).min(STEP))
    } else if now < target {
        Step::Take((target - now).min(STEP))
    } else {
        Step::Nothing
    }
}

/// The balloon of this domain. There is one.
#[derive(Debug)]
pub struct Balloon {
    holes: Vec<Hole>,
    /// Pages that the domain should have.
    target: u64,
    /// Pages that it keeps in any case.
    floor: u64,
    /// Pages that it may have.
    maximum: u64,
    look: bool,
}

impl Balloon {
    /// A balloon that leaves the domain at least `floor` pages; watches what the toolstack wants.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn new(store: &mut impl Store, floor: u64) -> Result<Self, StoreError> {
        let now = memory::pages_now();
        let maximum = store.get(MAXIMUM)?;
        let maximum = maximum.as_deref().and_then(pages).unwrap_or(now).max(now);
        store.begin_watch(TARGET, TOKEN)?;
        Ok(Self {
            holes: Vec::new(),
            target: now,
            floor: floor.min(now),
            maximum,
            look: true,
        })
    }

    /// Tells that a watch with this token has fired: for kernels that take watch events themselves.
    pub fn notice(&mut self, token: &str) {
        self.look |= token == TOKEN;
    }

    /// Pages that the domain has, and that it should have.
    #[must_use]
    pub fn pages(&self) -> (u64, u64) {
        (memory::pages_now(), self.target)
    }

    /// One step.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn run(&mut self, store: &mut impl Store) -> Result<Balance, StoreError> {
        if store.has_fired(TOKEN) || self.look {
            self.look = false;
            let wanted = store.get(TARGET)?;
            if let Some(wanted) = wanted.as_deref().and_then(pages) {
                self.target = wanted.clamp(self.floor, self.maximum);
            }
        }
        Ok(match step(memory::pages_now(), self.target) {
            Step::Nothing => Balance::Even,
            Step::Give(count) => self.outcome(count, memory::give_back),
            Step::Take(count) => {
                if self.holes.is_empty() {
                    let beyond = self.maximum.saturating_sub(memory::pages_now());
                    memory::room_beyond(beyond, &mut self.holes);
                }
                self.outcome(count, memory::take_more)
            }
        })
    }

    /// Does a step; whether anything came of it.
    fn outcome(&mut self, count: u64, step: fn(usize, &mut Vec<Hole>) -> usize) -> Balance {
        let count = usize::try_from(count).unwrap_or(0);
        match step(count, &mut self.holes) {
            0 => Balance::Stuck,
            _ if memory::pages_now() == self.target => Balance::Even,
            _ => Balance::Moving,
        }
    }
}

/// The pages in so many KiB, as a node says.
fn pages(kib: &str) -> Option<u64> {
    let kib: u64 = kib.trim().parse().ok()?;
    Some(kib / KIB_PER_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xenbus::fake::FakeStore;

    #[test]
    fn a_step_is_bounded_and_never_overshoots() {
        assert_eq!(step(1000, 1000), Step::Nothing);
        assert_eq!(step(1000, 990), Step::Give(10));
        assert_eq!(step(10_000, 1), Step::Give(STEP));
        assert_eq!(step(1, u64::MAX), Step::Take(STEP));
    }

    #[test]
    fn a_target_is_kept_between_floor_and_maximum() {
        let mut store = FakeStore::new(&[(MAXIMUM, "4000"), (TARGET, "400000")]);
        let mut balloon = Balloon::new(&mut store, 0).unwrap();
        balloon.run(&mut store).unwrap();
        assert_eq!(balloon.pages().1, 1000);
        store.write(&[(TARGET, "nonsense")]);
        balloon.run(&mut store).unwrap();
        assert_eq!(balloon.pages().1, 1000);
        store.write(&[(TARGET, "400")]);
        balloon.run(&mut store).unwrap();
        assert_eq!(balloon.pages().1, 100);
    }
}
