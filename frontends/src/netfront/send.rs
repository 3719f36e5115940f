//! The sending side of a ring: what goes, and what is too long.

use guest_abi::PAGE_SIZE;

use super::{Link, Offload, SendError, tx::TxQueue};

/// Sends frames by one ring.
#[derive(Debug)]
pub struct Sender<'a> {
    queue: &'a mut TxQueue,
    link: &'a Link,
}

impl<'a> Sender<'a> {
    pub(super) fn new(queue: &'a mut TxQueue, link: &'a Link) -> Self {
        Self { queue, link }
    }

    /// What card it is.
    #[must_use]
    pub fn link(&self) -> &Link {
        self.link
    }

    /// Where a frame of this length can be built, with whatever lies there; `None` if there is no
    /// room.
    pub fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        self.queue.room(len)
    }

    /// Sends the frame of this length that lies in the [room](Self::room) for it.
    ///
    /// # Errors
    ///
    /// When it does not go.
    pub fn send_built(&mut self, len: usize, offload: Offload) -> Result<(), SendError> {
        self.check(len, offload)?;
        self.queue.push_built(len, offload)
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// When it does not go.
    pub fn send(&mut self, frame: &[u8], offload: Offload) -> Result<(), SendError> {
        self.check(frame.len(), offload)?;
        self.queue.push(frame, offload)
    }

    /// Whether the backend takes such a frame.
    fn check(&self, len: usize, offload: Offload) -> Result<(), SendError> {
        let features = self.link.features;
        let cut_up = offload.gso.is_some_and(|gso| match gso.ipv6 {
            true => features.gso_ipv6,
            false => features.gso_ipv4,
        });
        let fits = cut_up || (offload.gso.is_none() && (features.scatter || len <= PAGE_SIZE));
        match fits && (cut_up || len <= self.link.longest_frame()) {
            true => Ok(()),
            false => Err(SendError::TooLong),
        }
    }
}
