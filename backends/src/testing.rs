//! What tests of asynchronous code need: somebody to poll it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

/// A future and whether somebody woke it: polled by hand, so that a test says when.
pub struct Task<T> {
    future: Option<Pin<Box<dyn Future<Output = T>>>>,
    woken: Arc<Woken>,
}

#[derive(Debug)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("ended", &self.future.is_none())
            .field("woken", &self.woken)
            .finish()
    }
}

impl<T> Task<T> {
    /// Most polls in a row before [`run`](Self::run) says that this goes on for ever.
    const POLLS: usize = 100_000;

    /// A task that was not polled yet.
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self {
            future: Some(Box::pin(future)),
            woken: Arc::new(Woken(AtomicBool::new(true))),
        }
    }

    /// Polls until nobody has woken it since, or until it ends: its output then.
    ///
    /// # Panics
    ///
    /// When it never rests, or is run again after its end.
    pub fn run(&mut self) -> Option<T> {
        (0..Self::POLLS)
            .find_map(|_| match self.step() {
                Some(Poll::Ready(output)) => Some(Some(output)),
                Some(Poll::Pending) => None,
                None => Some(None),
            })
            .expect("a task that never rests")
    }

    /// Polls once if somebody has woken it.
    ///
    /// # Panics
    ///
    /// When it has ended before.
    pub fn step(&mut self) -> Option<Poll<T>> {
        if !self.woken.0.swap(false, Ordering::Relaxed) {
            return None;
        }
        let future = self.future.as_mut().expect("a task that has ended");
        let waker = Waker::from(self.woken.clone());
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        if poll.is_ready() {
            self.future = None;
        }
        Some(poll)
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.future.is_some()
    }
}
