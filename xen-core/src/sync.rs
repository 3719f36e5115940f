//! The core's lock.
//!
//! The core runs with interrupts off, so a CPU that spins cannot take the interrupt by which
//! another asks it to flush its TLB. Waiting therefore serves such requests: two CPUs, one waiting
//! for a lock and the other for an acknowledgement, never wait for each other.

use spin::RelaxStrategy;

/// Spins, and serves other CPUs' requests meanwhile.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServeAndSpin;

impl RelaxStrategy for ServeAndSpin {
    #[inline(always)]
    fn relax() {
        crate::arch::poll();
        core::hint::spin_loop();
    }
}

/// A mutual-exclusion lock that serves TLB-flush requests while it waits.
pub type SpinLock<T> = spin::mutex::SpinMutex<T, ServeAndSpin>;

/// A reader-writer lock of the same manners.
pub type RwLock<T> = spin::rwlock::RwLock<T, ServeAndSpin>;

/// A value written once, at start-up or creation.
pub type Once<T> = spin::once::Once<T>;
