//! virtio-blk: disks. Virtio 1.2, 5.2.
//!
//! One queue a disk. A request goes on the ring as soon as it is submitted, the device is told when
//! the user says so, and the interrupt ends it; in between nothing runs.

mod config;
mod queue;
mod ticket;

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use backends::host::{Disk, DiskError, DiskFuture, DiskRequest, Geometry};
use backends::signal::Signal;
use frontends::memory::Page;
use virtio_drivers::transport::pci::bus::DeviceFunction;

use super::doorbell::Doorbell;
use super::pci::Bus;
use super::virtio::{Refused, Registers, Start};
use crate::executor::Runtime;
use config::Features;
use queue::Queue;

/// The only queue.
const QUEUE: u16 = 0;
/// Requests that the device has at a time; more of them wait here.
const QUEUE_SIZE: u16 = 128;

struct State {
    queue: Queue<Page>,
    registers: Registers,
    doorbell: Doorbell,
}

impl State {
    fn announce(&mut self) {
        if self.queue.announce() {
            self.doorbell.ring();
        }
    }
}

struct Device {
    geometry: Geometry,
    state: RefCell<State>,
    /// Somebody waits for a request that the device may not know of.
    forgotten: Signal,
}

/// A virtio disk.
pub struct VirtioBlk(Rc<Device>);

impl fmt::Debug for VirtioBlk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtioBlk").field(&self.0.geometry).finish()
    }
}

impl VirtioBlk {
    /// Starts the disk at this place of the bus.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn start(
        runtime: &Runtime,
        bus: &mut Bus,
        function: DeviceFunction,
    ) -> Result<Self, Refused> {
        let (mut start, features) = Start::new(bus, function, Features::all())?;
        let (geometry, limits) = config::read(features, |offset| start.config_u32(offset))?;
        let size = start.queue_size(QUEUE, QUEUE_SIZE)?;
        let queue = Queue::new(size, limits)?;
        let doorbell = start.add_queue(QUEUE, queue.ring())?;
        let (registers, route) = start.finish();
        let device = Rc::new(Device {
            geometry,
            state: RefCell::new(State {
                queue,
                registers,
                doorbell,
            }),
            forgotten: Signal::default(),
        });
        let served = device.clone();
        route.deliver(runtime, move || served.interrupt());
        runtime.spawn(announce_forgotten(device.clone()));
        Ok(Self(device))
    }
}

impl Device {
    fn interrupt(&self) {
        let state = &mut *self.state.borrow_mut();
        state.registers.acknowledge();
        state.queue.collect();
        state.announce();
    }
}

/// Tells the device of requests that somebody waits for without having said so.
async fn announce_forgotten(device: Rc<Device>) {
    loop {
        let seen = device.forgotten.count();
        device.state.borrow_mut().announce();
        device.forgotten.after(seen).await;
    }
}

impl Disk for VirtioBlk {
    fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    fn submit(&self, request: DiskRequest) -> DiskFuture {
        let writes = matches!(
            request,
            DiskRequest::Write { .. } | DiskRequest::Discard { .. }
        );
        if writes && self.0.geometry.read_only {
            return Box::pin(core::future::ready(Err(DiskError::Unsupported)));
        }
        let ticket = self.0.state.borrow_mut().queue.submit(request);
        Box::pin(Pending {
            device: self.0.clone(),
            ticket: Some(ticket),
        })
    }

    fn needs_bytes(&self) -> bool {
        false
    }

    fn kick(&self) {
        self.0.state.borrow_mut().announce();
    }
}

/// A request that was submitted.
struct Pending {
    device: Rc<Device>,
    /// Until its end was told.
    ticket: Option<usize>,
}

impl Future for Pending {
    type Output = Result<(), DiskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(ticket) = self.ticket else {
            return Poll::Ready(Err(DiskError::Io));
        };
        let (polled, is_unannounced) = {
            let queue = &mut self.device.state.borrow_mut().queue;
            (queue.poll(ticket, context), queue.is_unannounced())
        };
        if polled.is_ready() {
            self.ticket = None;
        } else if is_unannounced {
            self.device.forgotten.notify();
        }
        polled
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.device.state.borrow_mut().queue.abandon(ticket);
        }
    }
}
