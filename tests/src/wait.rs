//! Waiting for something to become true, with an end to patience.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits before it gives up. These are no performance figures: the machine may be
/// busy, and a test that fails for that is worse than a slow one.
#[derive(Clone, Copy, Debug)]
pub struct Patience(pub Duration);

impl Patience {
    /// For what takes a moment.
    pub const SHORT: Self = Self(Duration::from_secs(60));
    /// For a kernel's boot.
    pub const BOOT: Self = Self(Duration::from_secs(300));
}

/// Asks again and again until the answer is there.
///
/// # Panics
/// When patience ends: says what was waited for.
pub fn until<T>(what: &str, patience: Patience, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < patience.0,
            "waited {:?} in vain for {what}",
            patience.0
        );
        sleep(Duration::from_millis(200));
    }
}
