//! How much of a stream may still be sent: taken by the sender, granted by dom0.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use dom0::mgmt::protocol::INITIAL_CREDIT;

/// A count of chunks, shared between the one who sends and the one who hears of grants.
#[derive(Clone, Debug)]
pub struct Credit(Arc<(Mutex<Count>, Condvar)>);

#[derive(Debug)]
struct Count {
    chunks: u32,
    closed: bool,
}

impl Credit {
    /// The credit every stream begins with.
    #[must_use]
    pub fn new() -> Self {
        let count = Count {
            chunks: INITIAL_CREDIT,
            closed: false,
        };
        Self(Arc::new((Mutex::new(count), Condvar::new())))
    }

    /// Takes one chunk's worth, waiting for it; tells whether the stream is still wanted.
    #[must_use]
    pub fn take(&self) -> bool {
        let mut count = self.count();
        while count.chunks == 0 && !count.closed {
            count = self.0.1.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
        if count.closed {
            return false;
        }
        count.chunks -= 1;
        true
    }

    /// Adds to the credit.
    pub fn grant(&self, chunks: u32) {
        let mut count = self.count();
        count.chunks = count.chunks.saturating_add(chunks);
        self.0.1.notify_all();
    }

    /// Nothing more is wanted.
    pub fn close(&self) {
        self.count().closed = true;
        self.0.1.notify_all();
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Credit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_runs_out_and_comes_back() {
        let credit = Credit::new();
        for _ in 0..INITIAL_CREDIT {
            assert!(credit.take());
        }
        let waiting = std::thread::spawn({
            let credit = credit.clone();
            move || credit.take()
        });
        credit.grant(1);
        assert!(waiting.join().unwrap());
        credit.close();
        assert!(!credit.take());
    }
}
