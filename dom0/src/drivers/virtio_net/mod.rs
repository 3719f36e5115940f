//! virtio-net: network cards. Virtio 1.2, 5.1.
//!
//! One pair of queues, no offloads: frames are whole. A frame that came in is lent to its reader in
//! the pages it lies in, several if it is long, and they go back to the device when the reader lets
//! go of them. The device interrupts for the first frame only; the reader then takes all there are.

mod config;
mod control;
mod receive;
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
use guest_abi::Errno;
use virtio_drivers::transport::pci::bus::DeviceFunction;

use super::doorbell::Doorbell;
use super::pci::Bus;
use super::virtio::{Refused, Registers, Start};
use crate::executor::Runtime;
use crate::host::Held;
use config::{Card, Features};
use control::Control;
use receive::{Part, Receive};
use transmit::Transmit;

/// Queue numbers, and sizes.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const CONTROL: u16 = 2;
const QUEUE_SIZE: u16 = 256;

struct State {
    receive: Receive<Page>,
    transmit: Transmit<Page>,
    control: Option<Control<Page>>,
    registers: Registers,
    receive_bell: Doorbell,
    transmit_bell: Doorbell,
    /// The frame that is being taken.
    parts: Vec<Part>,
    /// Who waits for a frame.
    reader: Option<Waker>,
}

struct Device {
    card: Card,
    /// The pages that frames come in; those of slots lent to the reader are not the device's.
    pages: Rc<[Page]>,
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
    ) -> Result<Self, Refused> {
        let (mut start, features) = Start::new(bus, function, Features::all())?;
        let card = config::read(features, |offset| start.config_u16(offset))?;
        let size = start.queue_size(RECEIVE, QUEUE_SIZE)?;
        let receive = Receive::new(size, card.mergeable)?;
        let receive_bell = start.add_queue(RECEIVE, receive.ring())?;
        let transmit = Transmit::new(start.queue_size(TRANSMIT, QUEUE_SIZE)?)?;
        let transmit_bell = start.add_queue(TRANSMIT, transmit.ring())?;
        let control = card.controlled.then(|| add_control(&mut start));
        let (control, control_bell) = control.transpose()?.unzip();
        let (registers, route) = start.finish();
        receive_bell.ring();
        if let Some(bell) = control_bell {
            bell.ring();
        }
        let device = Rc::new(Device {
            card,
            pages: receive.pages().clone(),
            state: RefCell::new(State {
                receive,
                transmit,
                control,
                registers,
                receive_bell,
                transmit_bell,
                parts: Vec::new(),
                reader: None,
            }),
            returned: RefCell::default(),
        });
        let served = device.clone();
        route.deliver(runtime, move || served.interrupt());
        Ok(Self(device))
    }

    /// Whether it has a link, as it said at its start.
    #[must_use]
    pub fn has_link(&self) -> bool {
        self.0.card.link
    }
}

/// A control queue with its first command.
fn add_control(start: &mut Start<'_>) -> Result<(Control<Page>, Doorbell), Errno> {
    let control = Control::take_all()?;
    let bell = start.add_queue(CONTROL, control.ring())?;
    Ok((control, bell))
}

impl State {
    fn announce(&mut self) {
        if self.transmit.announce() {
            self.transmit_bell.ring();
        }
    }
}

impl Device {
    fn interrupt(&self) {
        let state = &mut *self.state.borrow_mut();
        state.registers.acknowledge();
        state.transmit.collect();
        state.announce();
        let answer = state.control.as_mut().and_then(Control::answer);
        if answer == Some(false) {
            let mac = self.card.mac;
            log::warn!("network card {mac}: it refuses frames for others: guests may miss theirs");
        }
        if let Some(reader) = state.reader.take() {
            // Until the reader has taken all there are, it needs not be told of more.
            state.receive.set_interrupts(false);
            reader.wake();
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
            state.receive.give_back(slot);
        }
        // The device asks for this only when it has run out.
        if state.receive.ring().wants_notification() {
            state.receive_bell.ring();
        }
    }
}

impl Nic for VirtioNet {
    fn mac(&self) -> MacAddress {
        self.0.card.mac
    }

    fn mtu(&self) -> u16 {
        self.0.card.mtu
    }

    fn max_frame(&self) -> usize {
        self.0.card.max_frame
    }

    fn transmit(&self, frame: &[Piece]) -> bool {
        let len: usize = frame.iter().map(|piece| piece.len).sum();
        let fits = len > 0 && len <= self.0.card.max_frame;
        fits && self.0.state.borrow_mut().transmit.send(frame)
    }

    fn kick(&self) {
        self.0.state.borrow_mut().announce();
    }

    fn poll_receive(&self, context: &mut Context<'_>, pieces: &mut Vec<Piece>) -> Poll<()> {
        let device = &self.0;
        let state = &mut *device.state.borrow_mut();
        device.lend_returned(state);
        if !state.receive.take(&mut state.parts) {
            match &mut state.reader {
                Some(reader) => reader.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            state.receive.set_interrupts(true);
            // One that came before the device could know of the wish.
            if !state.receive.take(&mut state.parts) {
                return Poll::Pending;
            }
        }
        pieces.extend(state.parts.drain(..).map(|Part { slot, offset, len }| {
            let device = device.clone();
            Piece {
                memory: Rc::new(Held(Received { device, slot })),
                offset,
                len,
            }
        }));
        Poll::Ready(())
    }
}

/// A page of a frame that came in, lent to its reader.
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
