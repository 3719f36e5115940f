//! Tells everybody who waits that something has happened.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::task::{Context, Poll, Waker};

/// A counter of happenings that can be waited on: none is lost between looking and waiting.
#[derive(Debug, Default)]
pub struct Signal {
    count: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Something has happened.
    pub fn notify(&self) {
        self.count.set(self.count.get() + 1);
        let wakers = core::mem::take(&mut *self.wakers.borrow_mut());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How often something has happened so far.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Waits until more has happened than `seen`.
    pub fn after(&self, seen: u64) -> impl Future<Output = ()> + '_ {
        core::future::poll_fn(move |context| self.poll_after(seen, context))
    }

    /// Ready once more has happened than `seen`.
    pub fn poll_after(&self, seen: u64, context: &mut Context<'_>) -> Poll<()> {
        if self.count.get() > seen {
            return Poll::Ready(());
        }
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}
