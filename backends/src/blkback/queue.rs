//! One ring of a connection, with its channel and its grants.

use alloc::rc::Rc;
use core::fmt;

use guest_abi::io::blkif::{BlkStatus, Response};
use guest_abi::io::ring::Overrun;

use super::grants::Grants;
use super::plan::Member;
use super::ring::BlkRing;
use super::validate::Tag;
use crate::host::Channel;

/// Pages that requests of one ring may hold before the next one has to wait.
pub(super) const MAX_PAGES: usize = 1024;

/// A ring and what belongs to it.
pub(super) struct Queue {
    pub(super) ring: BlkRing,
    pub(super) channel: Rc<dyn Channel>,
    pub(super) grants: Grants,
    /// Pages held by requests under way.
    pages: usize,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("ring", &self.ring)
            .field("grants", &self.grants)
            .field("pages", &self.pages)
            .finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) fn new(ring: BlkRing, channel: Rc<dyn Channel>, grants: Grants) -> Self {
        Self {
            ring,
            channel,
            grants,
            pages: 0,
        }
    }

    /// Whether the next request may have pages of its own.
    pub(super) fn has_room(&self) -> bool {
        self.pages < MAX_PAGES
    }

    /// A request of so many pages begins.
    pub(super) fn begin(&mut self, pages: usize) {
        self.pages += pages;
    }

    /// Answers a request that had begun.
    pub(super) fn finish(&mut self, member: &Member, status: BlkStatus) {
        self.pages = self.pages.saturating_sub(member.pages);
        self.answer(member.tag, status);
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, tag: Tag, status: BlkStatus) {
        self.ring.respond(&Response {
            id: tag.id,
            operation: tag.operation,
            status: status.number(),
            ..Response::default()
        });
    }

    /// Publishes what was answered, and tells the guest if it wants to know.
    pub(super) fn publish(&mut self) {
        if self.ring.publish() {
            self.channel.notify();
        }
    }

    /// Asks to be told of the next request; true if there is one already.
    pub(super) fn arm(&self, after: u32) -> Result<bool, Overrun> {
        self.ring.arm(after)
    }
}
