//! How many hosts may run at once: each can use all the CPUs there are.

use std::sync::{Condvar, Mutex, PoisonError};

/// Two, so that a test of two hosts side by side can have them.
const SLOTS: usize = 2;

static FREE: Mutex<usize> = Mutex::new(SLOTS);
static FREED: Condvar = Condvar::new();

/// The right to run one host; dropping it gives it to the next who waits.
#[derive(Debug)]
pub(crate) struct Slot(());

impl Slot {
    /// Waits for one. Only one test may hold a slot and wait for another, or they could wait for
    /// each other.
    pub(crate) fn take() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = FREED
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Self(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        FREED.notify_one();
    }
}
