//! Arrays of requests with a count of those done: what `mmu_update` and `mmuext_op` share.
//!
//! Requests are carried out in order; the first that fails ends the call, and what was done before
//! it stands. A call that pauses leaves the rest of the array in its arguments, with bit 31 of the
//! count set: the figure that it wrote to `done` then goes on counting.

use guest_abi::errno::Errno;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop};
use crate::mm::hardware::Hardware;
use crate::mm::pagetable::Space;

/// Marks a count as that of a call that paused.
const PREEMPTED: u32 = 1 << 31;

/// The part of an array that remains to be done.
#[derive(Debug)]
pub(super) struct Batch<T> {
    at: GuestPtr<T>,
    left: u32,
    done_at: GuestPtr<u32>,
    done: u32,
    resumed: bool,
}

impl<T: FromBytes + IntoBytes + Immutable> Batch<T> {
    /// The array that the first three arguments of `call` describe.
    #[inline(always)]
    pub(super) fn decode(call: &Call<'_>) -> Result<Self, Errno> {
        let [at, count, done_at, ..] = call.args;
        let done_at = GuestPtr::new(done_at);
        let count = u32::try_from(count & 0xffff_ffff).unwrap_or(0);
        let resumed = count & PREEMPTED != 0;
        let done = if resumed && !done_at.is_null() {
            done_at.copy_in()?
        } else {
            0
        };
        Ok(Self {
            at: GuestPtr::new(at),
            left: count & !PREEMPTED,
            done_at,
            done,
            resumed,
        })
    }

    /// Whether the call paused before with nothing but after-work left.
    pub(super) const fn is_epilogue(&self) -> bool {
        self.resumed && self.left == 0
    }

    /// Has `work` carry the requests out, some at a time: it answers with how many it did, and
    /// whether it stops there.
    ///
    /// # Errors
    /// What `work` stopped with; `EFAULT` when the next request cannot be read.
    #[inline(always)]
    pub(super) fn run<const CHUNK: usize>(
        &mut self,
        mut work: impl FnMut(&[T]) -> (u32, Result<(), Stop>),
    ) -> Result<(), Stop> {
        if self.left == 1 {
            let one = self.at.copy_in()?;
            let (done, outcome) = work(core::slice::from_ref(&one));
            self.advance(done)?;
            return outcome;
        }
        while self.left > 0 {
            let mut room: [T; CHUNK] = FromZeros::new_zeroed();
            let (done, outcome) = work(self.fetch(&mut room)?);
            self.advance(done)?;
            outcome?;
        }
        Ok(())
    }

    /// Copies the next requests in: one at least.
    fn fetch<'b>(&self, into: &'b mut [T]) -> Result<&'b [T], Errno> {
        let count = into.len().min(self.left as usize);
        let (some, _) = into.split_at_mut(count);
        if self.at.copy_in_slice(some).is_ok() {
            return Ok(some);
        }
        // The array runs into a hole: those before it still count.
        let (one, _) = some.split_at_mut(count.min(1));
        self.at.copy_in_slice(one)?;
        Ok(one)
    }

    /// Counts `count` requests as done.
    fn advance(&mut self, count: u32) -> Result<(), Errno> {
        self.left = self.left.saturating_sub(count);
        self.done = self.done.wrapping_add(count);
        if self.left > 0 {
            self.at = self.at.at(u64::from(count))?;
        }
        Ok(())
    }

    /// Reports how many are done, and pauses or ends the call.
    #[inline(always)]
    pub(super) fn finish(self, call: &mut Call<'_>, outcome: Result<(), Stop>) -> Reply {
        if !self.done_at.is_null() {
            // As in Xen, a bad pointer here costs the guest the figure and no more.
            let _ = self.done_at.copy_out(&self.done);
        }
        match outcome {
            Ok(()) => Ok(0),
            Err(Stop::Again) => {
                call.args[0] = self.at.address().get();
                call.args[1] = u64::from(self.left | PREEMPTED);
                Err(Stop::Again)
            }
            Err(stop) => Err(stop),
        }
    }
}

/// Carries requests out one by one, in a space whose budget pays for them, and after each drains
/// what it left to be drained. Answers with how many are done, and whether it stops there.
#[inline(always)]
pub(super) fn each<T>(
    space: &mut Space<'_, Hardware>,
    requests: &[T],
    mut apply: impl FnMut(&mut Space<'_, Hardware>, &T) -> Result<(), Stop>,
) -> (u32, Result<(), Stop>) {
    let mut done = 0;
    for request in requests {
        if !space.spend(1) {
            return (done, Err(Stop::Again));
        }
        if let Err(stop) = apply(space, request) {
            return (done, Err(stop));
        }
        done += 1;
        if let Err(stop) = settle(space) {
            return (done, Err(stop));
        }
    }
    (done, Ok(()))
}

/// Drains what is left to be drained.
#[inline]
pub(super) fn settle(space: &mut Space<'_, Hardware>) -> Result<(), Stop> {
    if !space.has_work() || space.drain() {
        Ok(())
    } else {
        Err(Stop::Again)
    }
}
