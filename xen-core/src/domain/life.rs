//! The stages of a domain's life.
//!
//! ```text
//!   Alive ──shutdown(reason)──▶ ShutDown ──destroy──▶ Dying ──last page freed──▶ gone
//!     └────────────destroy────────────────────────────▲
//! ```

use core::sync::atomic::{AtomicU32, Ordering};

use guest_abi::sched::ShutdownReason;

use crate::sync::SpinLock;

/// Where a domain stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// It may run (unless paused).
    Alive,
    /// It stopped by itself or was stopped.
    ShutDown(ShutdownReason),
    /// It is being taken apart.
    Dying,
}

/// A domain's stage and how often it is paused.
#[derive(Debug)]
pub struct Life {
    stage: SpinLock<Stage>,
    pauses: AtomicU32,
}

impl Life {
    /// A new domain is alive, and paused once: by its creator.
    pub(super) fn new() -> Self {
        Self {
            stage: SpinLock::new(Stage::Alive),
            pauses: AtomicU32::new(1),
        }
    }

    /// Where it stands now.
    pub fn stage(&self) -> Stage {
        *self.stage.lock()
    }

    /// Whether it is being taken apart.
    pub fn is_dying(&self) -> bool {
        self.stage() == Stage::Dying
    }

    /// Records a shutdown; says whether it is the first.
    pub fn shut_down(&self, reason: ShutdownReason) -> bool {
        let mut stage = self.stage.lock();
        if *stage != Stage::Alive {
            return false;
        }
        *stage = Stage::ShutDown(reason);
        true
    }

    /// Takes a shutdown back (a suspend that was cancelled); says whether there was one.
    pub fn resume(&self) -> bool {
        let mut stage = self.stage.lock();
        let was_down = matches!(*stage, Stage::ShutDown(_));
        if was_down {
            *stage = Stage::Alive;
        }
        was_down
    }

    /// Begins the end; says whether it had not begun before.
    pub fn start_dying(&self) -> bool {
        let mut stage = self.stage.lock();
        let first = *stage != Stage::Dying;
        *stage = Stage::Dying;
        first
    }

    /// Whether the toolstack holds it paused.
    pub fn is_paused(&self) -> bool {
        self.pauses.load(Ordering::SeqCst) > 0
    }

    /// One more pause; says whether it was running.
    pub fn pause(&self) -> bool {
        self.pauses.fetch_add(1, Ordering::SeqCst) == 0
    }

    /// One pause fewer; says whether it may run now. `None` when it was not paused.
    pub fn unpause(&self) -> Option<bool> {
        self.pauses
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .ok()
            .map(|before| before == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Life, Stage};
    use guest_abi::sched::ShutdownReason;

    #[test]
    fn only_the_first_shutdown_reason_counts() {
        let life = Life::new();
        assert!(life.shut_down(ShutdownReason::Crash));
        assert!(!life.shut_down(ShutdownReason::Poweroff));
        assert_eq!(life.stage(), Stage::ShutDown(ShutdownReason::Crash));
    }

    #[test]
    fn the_dying_do_not_shut_down() {
        let life = Life::new();
        assert!(life.start_dying());
        assert!(!life.start_dying());
        assert!(!life.shut_down(ShutdownReason::Poweroff));
        assert!(life.is_dying());
    }

    #[test]
    fn a_new_domain_waits_for_its_creator() {
        let life = Life::new();
        assert!(life.is_paused());
        assert!(!life.pause());
        assert_eq!(life.unpause(), Some(false));
        assert_eq!(life.unpause(), Some(true));
        assert_eq!(life.unpause(), None);
    }
}
