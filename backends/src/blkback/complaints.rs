//! Lines in the log about a frontend or a disk that misbehaves: some, not a flood.

use alloc::rc::Rc;
use alloc::string::String;
use core::fmt::Display;

use crate::host::Host;

/// Nanoseconds between two lines.
const PAUSE: u64 = 5_000_000_000;

/// What is said about one device.
pub(super) struct Complaints {
    host: Rc<dyn Host>,
    name: String,
    /// When the next line may come.
    next: u64,
    unsaid: u64,
}

impl Complaints {
    pub(super) fn new(name: String, host: Rc<dyn Host>) -> Self {
        Self {
            host,
            name,
            next: 0,
            unsaid: 0,
        }
    }

    /// Says what is wrong, unless something was said a moment ago.
    pub(super) fn about(&mut self, what: &dyn Display) {
        let now = self.host.now();
        if now < self.next {
            self.unsaid += 1;
            return;
        }
        self.next = now.saturating_add(PAUSE);
        match core::mem::take(&mut self.unsaid) {
            0 => log::warn!("{}: request failed: {what}", self.name),
            more => log::warn!("{}: request failed: {what} ({more} more before)", self.name),
        }
    }
}
