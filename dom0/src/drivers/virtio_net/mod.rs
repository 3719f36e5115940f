//! virtio-net: network cards. Virtio 1.2, 5.1.
//!
//! One pair of queues, no offloads: frames are whole. A frame that came in is lent to its reader in
//! the page it lies in, and the page goes back to the device when the reader lets go of it. The
//! device interrupts for the first frame only; the reader then takes all there are.

mod config;
mod transmit;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::ops::Deref;
use core::task::{Context, Poll, Waker};

use backends::host::{MacAddress, Nic, Piece};
use frontends::arch::bytes::SharedBytes;
use frontends::memory::Page;
use guest_abi::{Errno, PAGE_SIZE};
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::DeviceFunction;

use super::doorbell::Doorbell;
use super::pci::Bus;
use super::ring::{Ring, Segment};
use super::virtio;
use crate::arch::virtio::Machine;
use crate::executor::Runtime;
use crate::host::Held;
use config::{Card, Features, HEADER_BYTES};
use transmit::Transmit;

/// Queue numbers, and sizes.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const QUEUE_SIZE: u16 = 256;

struct State {
    receive: Ring<Page>,
    transmit: Transmit<Page>,
    transport: PciTransport,
    receive_bell: Doorbell,
    transmit_bell: Doorbell,
    /// Who waits for a frame.
    reader: Option<Waker>,
    /// The interrupt is a line, which the device holds until its status is read.
    is_line: bool,
}

struct Device {
    card: Card,
    /// The pages that frames come in; those of slots lent to the reader are not the device's.
    pages: Vec<Page>,
    state: RefCell<State>,
    /// Slots whose pages the reader has let go of.
    returned: RefCell<Vec<u16>>,
}

/// A virtio network card.
pub struct VirtioNet(Rc<Device>);

impl fmt::Debug for VirtioNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtioNet").field(&self.0.card).finish()
    }
}

impl VirtioNet {
    /// Starts the card at this place of the bus.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn start(
        runtime: &Runtime,
        bus: &mut Bus,
        function: DeviceFunction,
    ) -> Result<Self, virtio::Refused> {
        bus.enable(function);
        let route = bus.route(function)?;
        let mut transport = PciTransport::new::<Machine, _>(&mut bus.root, function)?;
        let features = transport.begin_init(Features::all());
        let half = |offset| transport.read_config_space(offset).ok();
        let card = config::read(features, half)?;
        let mut size = |queue| virtio::queue_size(&mut transport, queue, QUEUE_SIZE);
        let receive = Ring::new(size(RECEIVE).ok_or(Errno::ENODEV)?)?;
        let transmit = Transmit::new(size(TRANSMIT).ok_or(Errno::ENODEV)?)?;
        for (queue, ring) in [(RECEIVE, &receive), (TRANSMIT, transmit.ring())] {
            if !route.is_line() {
                bus.use_vector_0(function, queue)?;
            }
            virtio::set_up(&mut transport, queue, ring);
        }
        transport.finish_init();
        let pages = (0..receive.size()).map(|_| Page::zeroed());
        let device = Rc::new(Device {
            card,
            pages: pages.collect::<Result<_, _>>()?,
            state: RefCell::new(State {
                receive,
                transmit,
                transport,
                receive_bell: bus.doorbell(function, RECEIVE)?,
                transmit_bell: bus.doorbell(function, TRANSMIT)?,
                reader: None,
                is_line: route.is_line(),
            }),
            returned: RefCell::default(),
        });
        device.lend_all_pages();
        let served = device.clone();
        route.deliver(runtime, move || served.interrupt());
        Ok(Self(device))
    }
}

impl State {
    fn announce(&mut self) {
        if self.transmit.announce() {
            self.transmit_bell.ring();
        }
    }
}

impl Device {
    fn lend_all_pages(&self) {
        let state = &mut *self.state.borrow_mut();
        for (slot, page) in (0..).zip(&self.pages) {
            let segment = Segment {
                address: page.frame().to_maddr().get(),
                len: u32::try_from(PAGE_SIZE).unwrap_or(0),
                device_writes: true,
            };
            state.receive.set_buffer(slot, segment);
            state.receive.offer(slot);
        }
        state.receive_bell.ring();
    }

    fn interrupt(&self) {
        let state = &mut *self.state.borrow_mut();
        if state.is_line {
            state.transport.ack_interrupt();
        }
        state.transmit.collect();
        state.announce();
        if let Some(reader) = state.reader.take() {
            // Until the reader has taken all there are, it needs not be told of more.
            state.receive.set_interrupts(false);
            reader.wake();
        }
    }

    /// The next frame that came in: its slot, and its length.
    fn take_frame(&self, state: &mut State) -> Option<(u16, usize)> {
        loop {
            let (slot, written) = state.receive.take()?;
            if usize::from(slot) >= self.pages.len() {
                continue;
            }
            let len = (written as usize).min(PAGE_SIZE);
            match len.checked_sub(HEADER_BYTES).filter(|len| *len > 0) {
                Some(len) => return Some((slot, len)),
                // A frame without a byte.
                None => state.receive.offer(slot),
            }
        }
    }

    /// The reader has let go of a page.
    fn give_back(&self, slot: u16) {
        self.returned.borrow_mut().push(slot);
        // A card that is at work offers what came back when it looks for frames next.
        if let Ok(mut state) = self.state.try_borrow_mut() {
            self.lend_returned(&mut state);
        }
    }

    fn lend_returned(&self, state: &mut State) {
        let mut returned = self.returned.borrow_mut();
        if returned.is_empty() {
            return;
        }
        for slot in returned.drain(..) {
            state.receive.offer(slot);
        }
        // The device asks for this only when it has run out.
        if state.receive.wants_notification() {
            state.receive_bell.ring();
        }
    }
}

impl Nic for VirtioNet {
    fn mac(&self) -> MacAddress {
        self.0.card.mac
    }

    fn max_frame(&self) -> usize {
        self.0.card.max_frame
    }

    fn transmit(&self, frame: Vec<Piece>) -> bool {
        let len: usize = frame.iter().map(|piece| piece.len).sum();
        let fits = len > 0 && len <= self.0.card.max_frame;
        fits && self.0.state.borrow_mut().transmit.send(frame)
    }

    fn kick(&self) {
        self.0.state.borrow_mut().announce();
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Piece> {
        let device = &self.0;
        let state = &mut *device.state.borrow_mut();
        device.lend_returned(state);
        let mut next = device.take_frame(state);
        if next.is_none() {
            match &mut state.reader {
                Some(reader) => reader.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            state.receive.set_interrupts(true);
            // One that came before the device could know of the wish.
            next = device.take_frame(state);
        }
        let Some((slot, len)) = next else {
            return Poll::Pending;
        };
        let device = device.clone();
        Poll::Ready(Piece {
            memory: Rc::new(Held(Received { device, slot })),
            offset: HEADER_BYTES,
            len,
        })
    }
}

/// The page of a frame that came in, lent to its reader.
struct Received {
    device: Rc<Device>,
    /// One of the device's.
    slot: u16,
}

impl Deref for Received {
    type Target = SharedBytes;

    fn deref(&self) -> &SharedBytes {
        &self.device.pages[usize::from(self.slot)]
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.device.give_back(self.slot);
    }
}
