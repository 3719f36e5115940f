//! Arrays of requests with a count of those done: what `mmu_update` and `mmuext_op` share.
//!
//! Requests are carried out in order; the first that fails ends the call, and what was done before
//! it stands. A call that pauses leaves the rest of the array in its arguments, with bit 31 of the
//! count set: the figure that it wrote to `done` then goes on counting.

use guest_abi::errno::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop};

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

    /// Copies the next requests in; none when all are done.
    ///
    /// # Errors
    /// `EFAULT` when not even the next one can be read.
    pub(super) fn fetch<'b>(&self, into: &'b mut [T]) -> Result<&'b [T], Errno> {
        let count = into.len().min(self.left as usize);
        let Some(some) = into.get_mut(..count) else {
            return Ok(&[]);
        };
        if count > 1 && self.at.copy_in_slice(some).is_err() {
            // The array runs into a hole: those before it still count.
            let Some(one) = some.get_mut(..1) else {
                return Ok(&[]);
            };
            self.at.copy_in_slice(one)?;
            return Ok(one);
        }
        if count == 1 {
            self.at.copy_in_slice(some)?;
        }
        Ok(some)
    }

    /// Counts `count` requests as done.
    pub(super) fn advance(&mut self, count: u32) -> Result<(), Errno> {
        self.left = self.left.saturating_sub(count);
        self.done = self.done.wrapping_add(count);
        if self.left > 0 {
            self.at = self.at.at(u64::from(count))?;
        }
        Ok(())
    }

    /// Reports how many are done, and pauses or ends the call.
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
