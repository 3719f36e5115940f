//! A lock that tasks wait for.

use core::cell::Cell;

use backends::signal::Signal;

/// At most one task has it.
#[derive(Debug, Default)]
pub(super) struct Lock {
    taken: Cell<bool>,
    given_back: Signal,
}

impl Lock {
    /// Waits until nobody has it.
    pub(super) async fn take(&self) -> Taken<'_> {
        loop {
            let seen = self.given_back.count();
            if !self.taken.replace(true) {
                return Taken(self);
            }
            self.given_back.after(seen).await;
        }
    }
}

/// The lock is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Taken<'a>(&'a Lock);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.given_back.notify();
    }
}
