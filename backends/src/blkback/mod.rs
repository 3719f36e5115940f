//! The block backend: a disk, seen by one guest.
//!
//! ```text
//!   ring ──▶ validate ──▶ grants ──▶ plan ──▶ order ──▶ flight ──▶ Disk
//!   slot     a private    pieces     what     barriers  futures,     │
//!   copied   copy         of memory  touches  wait      polled when  │
//!    ▲                               is one             woken        │
//!    └───────────────── responses, published at the end of a turn ◀──┘
//! ```
//!
//! - [`connect`](Blkback) reads the frontend's nodes and maps its rings; what can't be is refused
//!   there, before anything is served.
//! - A request that can't be is answered with an error; an index that can't be ends the
//!   connection, after what was taken is done. Nothing else that a frontend does reaches anybody
//!   but itself.
//! - Memory is bounded by figures of ours: slots of the ring, places for requests under way,
//!   pages they hold, grants kept mapped.
//! - When serving ends, everything taken is answered: the ring says all that another instance
//!   must know.

mod complaints;
mod connect;
mod flight;
mod grants;
mod job;
mod options;
mod order;
mod persistent;
mod plan;
mod queue;
mod ring;
mod serve;
mod statistics;
#[cfg(any(test, feature = "fake"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod validate;
mod work;

pub use options::Options;
pub use serve::Connection;
pub use statistics::Statistics;

use alloc::rc::Rc;
use core::fmt;
use core::future::Future;

use crate::host::Disk;
use crate::xenbus::{Backend, Device, Refusal};
use crate::xenstore::Error;
use statistics::Counters;

/// Serves one disk to one frontend.
pub struct Blkback {
    disk: Rc<dyn Disk>,
    options: Options,
    counters: Counters,
}

impl fmt::Debug for Blkback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blkback")
            .field("options", &self.options)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}

impl Blkback {
    /// A backend for `disk`.
    #[must_use]
    pub fn new(disk: Rc<dyn Disk>, options: Options) -> Self {
        Self {
            disk,
            options: options.bounded(),
            counters: Counters::default(),
        }
    }

    /// What the device has done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.counters.snapshot()
    }
}

impl Backend for Blkback {
    type Connection = Connection;

    fn offer(&self, device: &Device) -> Result<(), Error> {
        connect::offer(device, &self.options, &self.disk.geometry())
    }

    fn connect(&self, device: &Device) -> Result<Connection, Refusal> {
        let connection = connect::connect(device, self)?;
        connect::describe(device, &self.options, &self.disk.geometry())?;
        Ok(connection)
    }

    async fn serve(
        &self,
        connection: &mut Connection,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Refusal> {
        connection.serve(self, stop).await
    }
}
