//! A network card: the frontend of a paravirtual network device.
//!
//! [`Netfront`] sends and receives Ethernet frames. Frames may be as long as 64 KiB when they carry
//! TCP ([`Gso`]): the other end cuts them up if it must. TCP and UDP checksums can be left to the other
//! end ([`Offload::checksum_blank`]), and those of received frames are known to be right, or are
//! checked here. With the feature `smoltcp`, [`phy::NetDevice`] makes it a device of that TCP/IP stack.
//!
//! ```text
//! send(frame)… -> kick()        event -> receive() -> Received … -> arm()
//! ```
//!
//! Nothing that the backend writes is believed before it is checked. One that breaks the protocol gets
//! [`DeviceError::Broken`], after which the card is only good for closing.

pub mod checksum;
mod circle;
mod coming;
mod connect;
mod frame;
#[cfg(feature = "smoltcp")]
pub mod phy;
mod rx;
mod send;
mod tx;

use alloc::vec::Vec;

use guest_abi::{DomId, Port};

use crate::{
    grants::GrantTable,
    ring::FrontRing,
    xenbus::{Device, DeviceError, Life, Store},
};
use connect::{Lane, Terms};

pub use frame::{Checksum, Gso, Offload, Received, SendError};
pub use send::Sender;

/// What a kernel wants of a card. The backend may offer less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Pairs of rings. One is enough for one vCPU.
    pub queues: u16,
    /// Whether frames beyond a page may come: long ones, and TCP that nobody has cut up.
    pub large_frames: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queues: 1,
            large_frames: true,
        }
    }
}

/// What the backend takes beyond frames of up to a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Frames in several pages.
    pub scatter: bool,
    /// TCP over IPv4 that it cuts up itself.
    pub gso_ipv4: bool,
    /// TCP over IPv6 likewise.
    pub gso_ipv6: bool,
    /// Blank checksums over IPv6; over IPv4 they always may be.
    pub checksum_ipv6: bool,
}

/// What card it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its address.
    pub mac: [u8; 6],
    /// The longest IP packet, without the Ethernet header.
    pub mtu: u16,
    /// What else the backend takes.
    pub features: Features,
}

impl Link {
    /// The longest frame that goes uncut, its Ethernet header included.
    #[must_use]
    pub fn longest_frame(&self) -> usize {
        usize::from(self.mtu) + 14
    }
}

/// A connected card.
#[derive(Debug)]
pub struct Netfront {
    device: Device,
    grants: GrantTable,
    options: Options,
    link: Link,
    lanes: Vec<Lane>,
    /// The lane by which the last frame came.
    current: usize,
}

impl Netfront {
    /// Connects to the card with a number (`device/vif/NUMBER`), which [`Device::list`] finds.
    ///
    /// # Errors
    ///
    /// When the device is incomplete, refused, or there is no memory for its rings.
    pub fn connect(
        store: &mut impl Store,
        grants: &GrantTable,
        id: u32,
        options: Options,
    ) -> Result<Self, DeviceError> {
        let device = Device::open(store, "vif", id)?;
        match connect(store, grants, &device, &options) {
            Ok((lanes, link)) => Ok(Self {
                device,
                grants: grants.clone(),
                options,
                link,
                lanes,
                current: 0,
            }),
            Err(error) => {
                // The backend hears that nobody is there; the watch goes as well.
                device.end_close(store)?;
                device.forget(store)?;
                Err(error)
            }
        }
    }

    /// What card it is.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Its folders in xenstore.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The domain that serves it.
    #[must_use]
    pub fn backend(&self) -> DomId {
        self.device.back_domain()
    }

    /// The ports that fire when a frame has come or was sent.
    pub fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        self.lanes.iter().flat_map(|lane| {
            let rx = lane.rx_channel.as_ref().map(|channel| channel.port());
            [Some(lane.tx_channel.port()), rx].into_iter().flatten()
        })
    }

    /// The longest frame, its Ethernet header included.
    #[must_use]
    pub fn longest_frame(&self) -> usize {
        self.link.longest_frame()
    }

    /// Whether any frame finds room, on the first ring.
    ///
    /// # Errors
    ///
    /// When the backend broke the protocol.
    pub fn has_room(&mut self) -> Result<bool, DeviceError> {
        let Some(lane) = self.lanes.first_mut() else {
            return Ok(false);
        };
        if !lane.tx.has_room() {
            lane.tx.reap()?;
        }
        Ok(lane.tx.has_room())
    }

    /// Sends a frame by the first ring. The backend sees it after [`kick`](Self::kick).
    ///
    /// # Errors
    ///
    /// When it does not go.
    pub fn send(&mut self, frame: &[u8], offload: Offload) -> Result<(), SendError> {
        self.send_on(0, frame, offload)
    }

    /// Sends a frame by a ring: the number is taken modulo how many there are.
    ///
    /// # Errors
    ///
    /// When it does not go.
    pub fn send_on(
        &mut self,
        queue: usize,
        frame: &[u8],
        offload: Offload,
    ) -> Result<(), SendError> {
        let mut sender = self.sender(queue).ok_or(SendError::Full)?;
        sender.send(frame, offload)
    }

    /// The sending side of a ring: the number is taken modulo how many there are.
    pub fn sender(&mut self, queue: usize) -> Option<Sender<'_>> {
        let count = self.lanes.len().max(1);
        let lane = self.lanes.get_mut(queue % count)?;
        Some(Sender::new(&mut lane.tx, &self.link))
    }

    /// Shows the backend what was sent, and gives it pages for more.
    pub fn kick(&mut self) {
        for lane in &mut self.lanes {
            if lane.tx.ring.publish() {
                lane.tx_channel.notify();
            }
            lane.rx.refill();
            if lane.rx.ring.publish() {
                lane.rx_channel().notify();
            }
        }
    }

    /// Goes on to the next frame that has come; it is in [`frame`](Self::frame) then.
    ///
    /// # Errors
    ///
    /// When the backend broke the protocol.
    pub fn receive(&mut self) -> Result<Option<Received>, DeviceError> {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(received) = lane.rx.advance()? {
                self.current = number;
                return Ok(Some(received));
            }
        }
        Ok(None)
    }

    /// The frame that was [received](Self::receive) last, until the next [`kick`](Self::kick).
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        let lane = self.lanes.get(self.current);
        lane.map_or(&[], |lane| lane.rx.frame())
    }

    /// The same, and the sending side of the first ring beside it: for an answer.
    pub fn frame_and_sender(&mut self) -> Option<(&[u8], Sender<'_>)> {
        let (first, others) = self.lanes.split_first_mut()?;
        let sender = Sender::new(&mut first.tx, &self.link);
        let frame = match self.current.checked_sub(1) {
            None => first.rx.frame(),
            Some(other) => others.get(other).map_or(&[][..], |lane| lane.rx.frame()),
        };
        Some((frame, sender))
    }

    /// Asks for an event at the next frame, and if there is no room for sending, also when there may
    /// be some again. If this says that something is there already, there may be no event for it:
    /// look again.
    ///
    /// # Errors
    ///
    /// When the backend broke the protocol.
    pub fn arm(&mut self) -> Result<bool, DeviceError> {
        let mut ready = false;
        for lane in &mut self.lanes {
            lane.tx.reap()?;
            // Nobody wants to be woken for frames that are gone, unless he waits for their room.
            ready |= !lane.tx.has_room() && lane.tx.ring.arm();
            ready |= lane.rx.ring.arm();
        }
        Ok(ready)
    }

    /// How many frames the backend did not send.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.tx.dropped).sum()
    }

    /// What the backend wants, when the watch of its state has fired.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn life(&self, store: &mut impl Store) -> Result<Life, DeviceError> {
        Ok(self.device.life(store)?)
    }

    /// Connects anew, to the backend that has taken the place of the old one. Frames on their way
    /// are lost, as networks do.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    pub fn reconnect(&mut self, store: &mut impl Store) -> Result<(), DeviceError> {
        self.lanes.clear();
        (self.lanes, self.link) = connect(store, &self.grants, &self.device, &self.options)?;
        Ok(())
    }

    /// Closes the card: tells the backend, waits until it has let go, and gives the rings back.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn close(mut self, store: &mut impl Store) -> Result<(), DeviceError> {
        self.device.begin_close(store)?;
        self.lanes.clear();
        self.device.end_close(store)?;
        Ok(self.device.forget(store)?)
    }

    /// The rings of a queue, sending and receiving. A driver has no use for them; a kernel that
    /// tests its backend has.
    #[must_use]
    pub fn rings(&self, queue: usize) -> Option<(&FrontRing, &FrontRing)> {
        let lane = self.lanes.get(queue)?;
        Some((&lane.tx.ring, &lane.rx.ring))
    }

    /// Notifies the backend of a queue, whether there is something on it or not. For such kernels,
    /// too.
    pub fn notify(&self, queue: usize) {
        if let Some(lane) = self.lanes.get(queue) {
            lane.tx_channel.notify();
            lane.rx_channel().notify();
        }
    }
}

/// The handshake, from the offer to both ends being connected.
fn connect(
    store: &mut impl Store,
    grants: &GrantTable,
    device: &Device,
    options: &Options,
) -> Result<(Vec<Lane>, Link), DeviceError> {
    device.wait_for_offer(store)?;
    let terms: Terms = connect::negotiate(store, device, options)?;
    let mut lanes = connect::lanes(grants, device, &terms)?;
    let addresses: Vec<_> = lanes.iter().map(Lane::address).collect();
    for lane in &mut lanes {
        // Pages for frames lie there when the backend looks for the first time.
        let _ = lane.rx.ring.publish();
    }
    let nodes = connect::nodes(&terms, options, &addresses);
    connect::introduce(store, device, &nodes)?;
    for lane in &lanes {
        lane.rx_channel().notify();
    }
    Ok((lanes, terms.link))
}
