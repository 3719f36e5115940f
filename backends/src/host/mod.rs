//! What a backend asks of its host: narrow traits, one real and one fake implementor.
//!
//! ```text
//!                ┌ Host: map and copy grants, bind ports, own pages, time, the store
//!   a backend ───┼ Disk: sectors in and out
//!                └ Nic:  frames in and out
//! ```
//!
//! Everything is single-threaded and asynchronous, but tied to no executor: what takes time is a
//! future or a `poll` function.

pub mod copy;
mod disk;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod memory;
mod nic;

pub use disk::{Disk, DiskError, DiskFuture, DiskRequest, Geometry, SECTOR_SIZE};
pub(crate) use memory::full_barrier;
pub use memory::{IoMemory, Piece, SharedPage};
pub use nic::{MacAddress, Nic};

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use guest_abi::grant_table::{CopyEnd, GrantCopy, GrantStatus};
use guest_abi::ids::GrantRef;
use guest_abi::{DomId, Errno, Port};

use crate::xenstore::Store;

/// A future that somebody else's executor runs.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// How granted pages are to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only looked at: the guest need not have granted more.
    ReadOnly,
    /// Written as well.
    ReadWrite,
}

/// Why grants could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantRefused {
    /// The first one that was refused, by its place in the list.
    pub index: usize,
    /// The hypervisor's reason.
    pub status: GrantStatus,
}

impl fmt::Display for GrantRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant number {}: {:?}", self.index, self.status)
    }
}

/// dom0, as a backend sees it.
pub trait Host {
    /// Maps pages that `owner` has granted to dom0, side by side, until dropped.
    ///
    /// # Errors
    ///
    /// Which was refused, and why; nothing is mapped then.
    fn map_grants(
        &self,
        owner: DomId,
        references: &[GrantRef],
        access: Access,
    ) -> Result<Rc<dyn IoMemory>, GrantRefused>;

    /// The same for pages that only devices will reach, which costs less: the addresses are good
    /// for a driver, but nobody here can look at the bytes.
    ///
    /// # Errors
    ///
    /// Likewise.
    fn map_grants_for_devices(
        &self,
        owner: DomId,
        references: &[GrantRef],
        access: Access,
    ) -> Result<Rc<dyn IoMemory>, GrantRefused>;

    /// Makes copies, all in as few hypercalls as possible; each one's `status` says how it went.
    /// One that fails does not keep the others from being made. Memory of dom0's own that they
    /// name must be there meanwhile.
    fn copy_grants(&self, copies: &mut [GrantCopy]);

    /// How copies name a place in memory of dom0's own, made by [`pages`](Self::pages) or by a
    /// driver: it is good up to the end of that page.
    fn own(&self, memory: &Rc<dyn IoMemory>, offset: usize) -> CopyEnd;

    /// Pages of dom0's own, side by side and zeroed, until dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn pages(&self, count: usize) -> Result<Rc<dyn IoMemory>, Errno>;

    /// Connects to a port that `owner` has opened for dom0.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    fn bind(&self, owner: DomId, remote: Port) -> Result<Rc<dyn Channel>, Errno>;

    /// The store that lives in this program.
    fn store(&self) -> &RefCell<Store>;

    /// Nanoseconds since the host started.
    fn now(&self) -> u64;

    /// Waits until [`now`](Self::now) has reached `deadline`.
    fn sleep_until(&self, deadline: u64) -> LocalFuture<()>;
}

/// Our end of an event channel; closed when dropped.
pub trait Channel {
    /// Tells the other end.
    fn notify(&self);

    /// Ready once the other end has told us something since the last time this was ready.
    /// One task at a time may wait.
    fn poll_event(&self, context: &mut Context<'_>) -> Poll<()>;
}

/// Waits for the next event of a channel.
pub async fn event(channel: &dyn Channel) {
    core::future::poll_fn(|context| channel.poll_event(context)).await;
}
