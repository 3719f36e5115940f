//! The network backend: vifs on switches.
//!
//! ```text
//!   guest A                                                        guest B
//!   tx ring ──▶ tx ── spoof, rate ──▶ switch ──▶ deliver ──▶ rx ──▶ rx ring
//!   pages ───────────────── one copy, made by the hypervisor ─────▶ pages
//!                                        │
//!                                        ▼ offload: gathered, cut, checksums
//!                                      uplink ──▶ card
//! ```
//!
//! Rules kept:
//!
//! - Slots and headers are checked on private copies. A frontend that breaks the rules of its
//!   rings, or whose grants fail, is disconnected with a reason; nobody else notices.
//! - Packets go from guest to guest in one copy, cut and checksummed only if the receiver can't
//!   take them as they are. All the copies of a batch are asked for in one go.
//! - Nothing waits for ever, and memory is bounded for each vif: see [`rx::held`] and [`pool`].
//! - A vif can be left and taken up again at any time: its rings then say all there is to know.

mod connect;
mod deliver;
mod frames;
mod next;
mod offload;
mod options;
mod packet;
mod plan;
mod pool;
mod rate;
mod ring;
mod rx;
mod scratch;
mod serve;
mod spoof;
mod stats;
mod switch;
#[cfg(any(test, feature = "fake"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tx;
mod vif;

pub use options::{BadNetwork, Network, Options, default_mac};
pub use rate::Rate;
pub use stats::{Stats, Traffic};
pub use switch::Switch;

use alloc::rc::Rc;
use core::fmt;
use core::future::Future;

use crate::xenbus::{Backend, Device, Refusal};
use crate::xenstore::Error;
use stats::Counters;
use vif::Vif;

/// The backend of a vif.
#[derive(Debug)]
pub struct Netback {
    switch: Rc<Switch>,
    options: Options,
    counters: Rc<Counters>,
}

impl Netback {
    /// A vif that will be on this switch once its frontend is connected.
    #[must_use]
    pub fn new(switch: Rc<Switch>, options: Options) -> Self {
        Self {
            switch,
            options,
            counters: Rc::default(),
        }
    }

    /// How it is set up.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What it has carried so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.get()
    }
}

/// A connected frontend. Dropping it takes it off the switch and lets go of its rings.
pub struct Connection(Rc<Vif>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection(domain {})", self.0.domain)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.detach();
    }
}

impl Backend for Netback {
    type Connection = Connection;

    fn offer(&self, device: &Device) -> Result<(), Error> {
        connect::offer(device, &self.options)
    }

    fn connect(&self, device: &Device) -> Result<Connection, Refusal> {
        connect::connect(device, &self.switch, &self.options, &self.counters).map(Connection)
    }

    async fn serve(
        &self,
        connection: &mut Connection,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Refusal> {
        let outcome = serve::serve(&connection.0, stop).await;
        connection.0.detach();
        outcome
    }
}
