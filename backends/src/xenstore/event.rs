//! Watch events on their way to one client: a queue that cannot grow without bound.
//!
//! * An event that waits already isn't queued twice: the client will look after it.
//! * When the queue is full, the watch is only remembered as *owed*. Once the queue has room it
//!   fires with its own path, which tells the client to look at all below: nothing is lost, and
//!   what is remembered is bounded by the number of watches.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

/// Tells a client that something changed at or below what it watches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchEvent {
    /// The node that changed, spelled as the watch was: absolute, relative to the client's home,
    /// or a special.
    pub path: Arc<str>,
    /// What the client gave when it set the watch.
    pub token: Arc<[u8]>,
}

impl WatchEvent {
    /// The payload on the wire: path and token, each followed by a NUL.
    pub fn to_wire(&self) -> Vec<u8> {
        [self.path.as_bytes(), b"\0", &self.token, b"\0"].concat()
    }

    fn bytes(&self) -> usize {
        // The header counts too, or a million empty events were free.
        self.path.len() + self.token.len() + 18
    }
}

/// The queue of one client.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    queue: VecDeque<WatchEvent>,
    /// What is in `queue`, to be found quickly.
    waiting: BTreeSet<WatchEvent>,
    bytes: usize,
    owed: BTreeSet<WatchEvent>,
    waker: Option<Waker>,
}

impl EventQueue {
    /// Queues `event`; `watched` is the event to fall back to when there is no room.
    pub(super) fn push(&mut self, event: WatchEvent, watched: WatchEvent, limit: usize) {
        if self.owed.contains(&watched) || self.waiting.contains(&event) {
            return;
        }
        if self.bytes + event.bytes() <= limit {
            self.bytes += event.bytes();
            self.waiting.insert(event.clone());
            self.queue.push_back(event);
        } else {
            self.owed.insert(watched);
        }
        self.wake();
    }

    /// The next event.
    pub(super) fn pop(&mut self) -> Option<WatchEvent> {
        match self.queue.pop_front() {
            Some(event) => {
                self.bytes -= event.bytes();
                self.waiting.remove(&event);
                Some(event)
            }
            None => self.owed.pop_first(),
        }
    }

    /// Whether something waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.owed.is_empty()
    }

    /// The next event, or a wake-up when there is one.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<WatchEvent> {
        match self.pop() {
            Some(event) => Poll::Ready(event),
            None => {
                self.wake_with(context.waker());
                Poll::Pending
            }
        }
    }

    /// Wakes `waker` when the next event comes.
    pub(super) fn wake_with(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    /// Wakes whoever waits: there is something, or there never will be.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Forgets all events.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.waiting.clear();
        self.owed.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(path: &str) -> WatchEvent {
        WatchEvent {
            path: path.into(),
            token: Arc::from(*b"t"),
        }
    }

    #[test]
    fn a_waiting_event_is_not_queued_twice() {
        let mut queue = EventQueue::default();
        queue.push(event("/a"), event("/"), 1000);
        queue.push(event("/a"), event("/"), 1000);
        assert_eq!(queue.pop(), Some(event("/a")));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn a_full_queue_owes_the_watch_one_event() {
        let mut queue = EventQueue::default();
        for n in 0..1000 {
            queue.push(event(&format!("/a/{n}")), event("/a"), 100);
        }
        let mut got = Vec::new();
        while let Some(event) = queue.pop() {
            got.push(event);
        }
        assert!(got.len() <= 6, "{got:?}");
        assert_eq!(got.last(), Some(&event("/a")));
    }
}
