//! Points in time and the timers that wait for them.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{
    fmt,
    future::Future,
    ops::{Add, Sub},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::Runtime;

/// A point in time: nanoseconds since the host started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// The point `nanos` nanoseconds after the start of the host.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of the host.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The time allowed was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

/// All running timers, the earliest first. The number tells equal deadlines apart.
#[derive(Default)]
pub(super) struct Timers {
    queue: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
}

impl Timers {
    /// When the earliest timer is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Takes the wakers of every timer due at `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(entry) = self
            .queue
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            due.push(entry.remove());
        }
        due
    }
}

/// Waits for a deadline.
pub struct Sleep {
    runtime: Runtime,
    deadline: Instant,
    /// The number this timer has in the queue, once it was polled.
    queued: Option<u64>,
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Sleep {
    pub(super) fn until(runtime: &Runtime, deadline: Instant) -> Self {
        Self {
            runtime: runtime.clone(),
            deadline,
            queued: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.runtime.now() >= self.deadline {
            return Poll::Ready(());
        }
        let id = {
            let mut timers = self.runtime.inner.timers.borrow_mut();
            let id = self.queued.unwrap_or_else(|| {
                timers.next_id += 1;
                timers.next_id
            });
            timers.queue.insert((self.deadline, id), cx.waker().clone());
            id
        };
        self.queued = Some(id);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.queued {
            self.runtime
                .inner
                .timers
                .borrow_mut()
                .queue
                .remove(&(self.deadline, id));
        }
    }
}
