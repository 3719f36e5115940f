//! How a virtio device over PCI is started, whatever it is. Virtio 1.2, 3.1.
//!
//! ```text
//!   Start::new: features ─▶ config_… ─▶ queue_size, add_queue: doorbells ─▶ finish: Registers, Route
//! ```
//!
//! All queues share one interrupt. Nothing is lent to a device before its driver has all of this,
//! so one that gives up on the way just drops its [`Start`], which resets the device.

use core::fmt;
use core::ops::BitAnd;

use bitflags::Flags;
use guest_abi::Errno;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::pci::bus::DeviceFunction;
use virtio_drivers::transport::pci::{PciTransport, VirtioPciError};

use super::dma::DmaPage;
use super::doorbell::Doorbell;
use super::interrupt::Route;
use super::pci::Bus;
use super::ring::{MAX_SIZE, Ring};
use crate::arch::virtio::Machine;

/// Why a device cannot be used.
#[derive(Debug)]
pub enum Refused {
    /// By the hypervisor, or for want of memory.
    Errno(Errno),
    /// Its registers are not those of a virtio device.
    Registers(VirtioPciError),
    /// What it says of itself.
    Config(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => f.write_str(errno.name()),
            Self::Registers(error) => write!(f, "{error}"),
            Self::Config(reason) => f.write_str(reason),
        }
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<VirtioPciError> for Refused {
    fn from(error: VirtioPciError) -> Self {
        Self::Registers(error)
    }
}

impl From<&'static str> for Refused {
    fn from(reason: &'static str) -> Self {
        Self::Config(reason)
    }
}

/// A device on its way to being used.
pub struct Start<'a> {
    bus: &'a mut Bus,
    function: DeviceFunction,
    route: Route,
    transport: PciTransport,
}

impl fmt::Debug for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Start({})", self.function)
    }
}

impl<'a> Start<'a> {
    /// Finds the device's registers and its interrupt, and agrees upon features: those of
    /// `wanted` that it offers are answered.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn new<F>(
        bus: &'a mut Bus,
        function: DeviceFunction,
        wanted: F,
    ) -> Result<(Self, F), Refused>
    where
        F: Flags<Bits = u64> + BitAnd<Output = F> + fmt::Debug,
    {
        bus.enable(function);
        let route = bus.route(function)?;
        let mut transport = PciTransport::new::<Machine, _>(&mut bus.root, function)?;
        let features = transport.begin_init(wanted);
        let start = Self {
            bus,
            function,
            route,
            transport,
        };
        Ok((start, features))
    }

    /// Reads 16 bits of the device's configuration; `None` beyond its end.
    pub fn config_u16(&self, offset: usize) -> Option<u16> {
        self.transport.read_config_space(offset).ok()
    }

    /// Likewise 32 bits.
    pub fn config_u32(&self, offset: usize) -> Option<u32> {
        self.transport.read_config_space(offset).ok()
    }

    /// How many descriptors a queue is to have: as many as wanted, if the device has them.
    ///
    /// # Errors
    /// `ENODEV` when there is no such queue.
    pub fn queue_size(&mut self, queue: u16, wanted: u16) -> Result<u16, Errno> {
        let most = self.transport.max_queue_size(queue);
        let most = u16::try_from(most).unwrap_or(u16::MAX);
        let size = most.min(wanted).min(MAX_SIZE);
        size.checked_ilog2()
            .map(|log| 1 << log)
            .ok_or(Errno::ENODEV)
    }

    /// Tells the device where a queue's rings are, lets it interrupt, and enables it. Answers the
    /// register that tells the device of the queue.
    ///
    /// # Errors
    /// As for [`Bus::use_vector_0`] and [`Bus::doorbell`].
    pub fn add_queue<M: DmaPage>(&mut self, queue: u16, ring: &Ring<M>) -> Result<Doorbell, Errno> {
        if !self.route.is_line() {
            self.bus.use_vector_0(self.function, queue)?;
        }
        let at = ring.addresses();
        let size = ring.size().into();
        self.transport
            .queue_set(queue, size, at.descriptors, at.available, at.used);
        self.bus.doorbell(self.function, queue)
    }

    /// Tells the device that it may begin. Its interrupt is still to be delivered.
    #[must_use]
    pub fn finish(mut self) -> (Registers, Route) {
        self.transport.finish_init();
        let registers = Registers {
            is_line: self.route.is_line(),
            transport: self.transport,
        };
        (registers, self.route)
    }
}

/// The registers of a device that runs. The device is reset when they are dropped.
#[derive(Debug)]
pub struct Registers {
    transport: PciTransport,
    /// The interrupt is a line, which the device holds until its status is read.
    is_line: bool,
}

impl Registers {
    /// Makes the device let go of its interrupt line, if it has one.
    pub fn acknowledge(&mut self) {
        if self.is_line {
            self.transport.ack_interrupt();
        }
    }
}
