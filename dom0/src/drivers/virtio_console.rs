//! virtio-console: the byte stream to the host that carries the management channel.
//!
//! Under QEMU this is
//! `-device virtio-serial-pci -chardev socket,id=mgmt,… -device virtserialport,chardev=mgmt`: the
//! first named port, number 1. Three tasks share the device:
//!
//! ```text
//!              ┌─ interrupt: takes used pages back ─┐
//! device ──────┤                                    ├── full pages ─▶ receive ─▶ input
//!              └─ answers the control queue         └── free pages ─▶ transmit ◀─ output
//! ```
//!
//! A page is lent to the device again only after the reader took what was in it, so a slow reader
//! slows the host down and loses nothing. Virtio 1.2, 5.3.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use async_channel::{Receiver, Sender};
use bitflags::bitflags;
use frontends::memory::Page;
use guest_abi::{Errno, PAGE_SIZE};
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::DeviceFunction;
use virtio_drivers::transport::{DeviceType, Transport};

use super::pci::Bus;
use crate::arch::virtio::{Machine, Queue};
use crate::executor::Runtime;

bitflags! {
    /// Features that this driver can use.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
        /// Several ports, told apart by a pair of control queues.
        const MULTIPORT = 1 << 1;
        /// Not the interface from before virtio 1.0.
        const VERSION_1 = 1 << 32;
    }
}

/// Pages under way in each direction of the port.
const PAGES: usize = 16;
/// The port that carries the channel.
const PORT: u32 = 1;
/// Queue numbers: the control queues come third and fourth, port 1 fifth and sixth.
const CONTROL_RECEIVE: u16 = 2;
const CONTROL_TRANSMIT: u16 = 3;
const RECEIVE: u16 = 4;
const TRANSMIT: u16 = 5;

/// Events of the control queue, `VIRTIO_CONSOLE_*`.
mod event {
    pub(super) const DEVICE_READY: u16 = 0;
    pub(super) const PORT_ADD: u16 = 1;
    pub(super) const PORT_READY: u16 = 3;
    pub(super) const PORT_OPEN: u16 = 6;
}

/// `struct virtio_console_control`: port, event, value.
const CONTROL_BYTES: usize = 8;

struct Device {
    transport: PciTransport,
    /// The interrupt is a line, which the device holds until its status is read.
    is_line: bool,
    control_receive: Queue<4>,
    control_transmit: Queue<8>,
    receive: Queue<PAGES>,
    transmit: Queue<PAGES>,
    full: Sender<(Page, usize)>,
    free: Sender<Page>,
}

/// The two ends of the stream, as the management channel's server takes them.
#[derive(Debug)]
pub struct Stream {
    /// What the host sends.
    pub input: Receiver<Vec<u8>>,
    /// What goes to the host.
    pub output: Sender<Vec<u8>>,
}

/// Starts the first virtio console on the bus.
///
/// # Errors
/// `ENODEV` when there is none; `EIO` when it refuses to work; the hypervisor's refusals.
pub fn start(runtime: &Runtime, bus: &mut Bus) -> Result<Stream, Errno> {
    let function = bus
        .virtio(DeviceType::Console)
        .into_iter()
        .next()
        .ok_or(Errno::ENODEV)?;
    bus.enable(function);
    let route = bus.route(function)?;
    let (full, full_pages) = async_channel::unbounded();
    let (free, free_pages) = async_channel::unbounded();
    let device = Device::set_up(bus, function, route.is_line(), full, free)?;
    let device = Rc::new(RefCell::new(device));
    let (input_sender, input) = async_channel::bounded(4);
    let (output, output_receiver) = async_channel::bounded(4);
    let served = device.clone();
    route.deliver(runtime, move || served.borrow_mut().interrupt());
    runtime.spawn(receive(full_pages, input_sender, device.clone()));
    runtime.spawn(transmit(output_receiver, free_pages, device));
    Ok(Stream { input, output })
}

impl Device {
    fn set_up(
        bus: &mut Bus,
        function: DeviceFunction,
        is_line: bool,
        full: Sender<(Page, usize)>,
        free: Sender<Page>,
    ) -> Result<Self, Errno> {
        let broken = |_| Errno::EIO;
        let mut transport =
            PciTransport::new::<Machine, _>(&mut bus.root, function).map_err(|_| Errno::EIO)?;
        let features = transport.begin_init(Features::all());
        if !features.contains(Features::MULTIPORT) {
            return Err(Errno::EIO);
        }
        for queue in [CONTROL_RECEIVE, CONTROL_TRANSMIT, RECEIVE, TRANSMIT] {
            if !is_line {
                bus.use_vector_0(function, queue)?;
            }
        }
        let mut device = Self {
            control_receive: Queue::new(&mut transport, CONTROL_RECEIVE).map_err(broken)?,
            control_transmit: Queue::new(&mut transport, CONTROL_TRANSMIT).map_err(broken)?,
            receive: Queue::new(&mut transport, RECEIVE).map_err(broken)?,
            transmit: Queue::new(&mut transport, TRANSMIT).map_err(broken)?,
            transport,
            is_line,
            full,
            free,
        };
        device.transport.finish_init();
        device.lend_first_pages()?;
        device.tell(0, event::DEVICE_READY, 1);
        Ok(device)
    }

    fn lend_first_pages(&mut self) -> Result<(), Errno> {
        for _ in 0..4 {
            let _ = self.control_receive.lend_empty(Page::new()?);
        }
        for _ in 0..PAGES {
            let _ = self.receive.lend_empty(Page::new()?);
            let _ = self.free.try_send(Page::new()?);
        }
        self.control_receive.notify(&mut self.transport);
        self.receive.notify(&mut self.transport);
        Ok(())
    }

    fn interrupt(&mut self) {
        if self.is_line {
            self.transport.ack_interrupt();
        }
        self.collect();
    }

    /// Takes back everything that the device is done with.
    fn collect(&mut self) {
        while let Some((page, len)) = self.control_receive.take() {
            let mut message = [0; CONTROL_BYTES];
            page.read(0, &mut message);
            if len >= CONTROL_BYTES {
                self.heard(message);
            }
            let _ = self.control_receive.lend_empty(page);
        }
        self.control_receive.notify(&mut self.transport);
        // What was said is done with.
        while self.control_transmit.take().is_some() {}
        // The receivers live as long as the device.
        while let Some(filled) = self.receive.take() {
            let _ = self.full.try_send(filled);
        }
        while let Some((page, _)) = self.transmit.take() {
            let _ = self.free.try_send(page);
        }
    }

    fn heard(&mut self, message: [u8; CONTROL_BYTES]) {
        let [a, b, c, d, e, f, _, _] = message;
        let (port, event) = (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]));
        if port == PORT && event == event::PORT_ADD {
            self.tell(port, event::PORT_READY, 1);
            self.tell(port, event::PORT_OPEN, 1);
        }
    }

    fn tell(&mut self, port: u32, event: u16, value: u16) {
        let Ok(page) = Page::new() else { return };
        page.write(0, &port.to_le_bytes());
        page.write(4, &event.to_le_bytes());
        page.write(6, &value.to_le_bytes());
        let _ = self.control_transmit.lend_filled(page, CONTROL_BYTES);
        self.control_transmit.notify(&mut self.transport);
    }
}

/// Carries full pages to the reader.
async fn receive(
    full: Receiver<(Page, usize)>,
    input: Sender<Vec<u8>>,
    device: Rc<RefCell<Device>>,
) {
    while let Ok(first) = full.recv().await {
        let mut bytes = Vec::new();
        let mut pages = Vec::new();
        let more = core::iter::from_fn(|| full.try_recv().ok());
        for (page, len) in core::iter::once(first).chain(more) {
            let start = bytes.len();
            bytes.resize(start + len, 0);
            page.read(0, bytes.get_mut(start..).unwrap_or_default());
            pages.push(page);
        }
        if input.send(bytes).await.is_err() {
            return;
        }
        let device = &mut *device.borrow_mut();
        for page in pages {
            let _ = device.receive.lend_empty(page);
        }
        device.receive.notify(&mut device.transport);
    }
}

/// Carries what is written to free pages, and those to the device.
async fn transmit(output: Receiver<Vec<u8>>, free: Receiver<Page>, device: Rc<RefCell<Device>>) {
    while let Ok(bytes) = output.recv().await {
        for chunk in bytes.chunks(PAGE_SIZE) {
            let Ok(page) = free.recv().await else { return };
            page.write(0, chunk);
            let device = &mut *device.borrow_mut();
            let _ = device.transmit.lend_filled(page, chunk.len());
            device.transmit.notify(&mut device.transport);
        }
    }
}
