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
mod connect;
#[cfg(feature = "smoltcp")]
pub mod phy;
mod rx;
mod tx;

use alloc::vec::Vec;
use core::fmt;

use guest_abi::{DomId, Port, io::netif::RxFlags};

use crate::{
    grants::GrantTable,
    ring::FrontRing,
    xenbus::{Device, DeviceError, Life, Store},
};
use connect::{Lane, Terms};

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

/// TCP that is to be cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Bytes of data in each piece.
    pub size: u16,
    /// Over IPv6, not 4.
    pub ipv6: bool,
}

/// What is left to the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The TCP or UDP checksum: its field holds the sum of the pseudo header.
    pub checksum_blank: bool,
    /// Segmentation; the checksum must be blank, too.
    pub gso: Option<Gso>,
}

/// What is known of a received frame's TCP or UDP checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: it is to be verified.
    #[default]
    Unknown,
    /// It is right.
    Right,
    /// It is blank; the data never left the machine and is right.
    Blank,
}

impl Checksum {
    fn of(flags: RxFlags) -> Self {
        if flags.contains(RxFlags::CSUM_BLANK) {
            Self::Blank
        } else if flags.contains(RxFlags::DATA_VALIDATED) {
            Self::Right
        } else {
            Self::Unknown
        }
    }
}

/// What came with a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Its checksum.
    pub checksum: Checksum,
    /// It is TCP that was to be cut up into pieces of so many bytes, and was not.
    pub gso_size: Option<u16>,
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The ring is full, or memory has run out: wait for an event.
    Full,
    /// Longer than this card takes, or empty.
    TooLong,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no room",
            Self::TooLong => "longer than the card takes",
        })
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
        usize::from(self.link.mtu) + 14
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
        let features = self.link.features;
        let cut_up = offload.gso.is_some_and(|gso| match gso.ipv6 {
            true => features.gso_ipv6,
            false => features.gso_ipv4,
        });
        let one_page = frame.len() <= guest_abi::PAGE_SIZE;
        let fits = cut_up || (offload.gso.is_none() && (features.scatter || one_page));
        if !fits || (!cut_up && frame.len() > self.longest_frame()) {
            return Err(SendError::TooLong);
        }
        let count = self.lanes.len().max(1);
        let lane = self.lanes.get_mut(queue % count).ok_or(SendError::Full)?;
        lane.tx.push(frame, offload)
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

    /// The next frame that has come, in `into`, which loses what it held.
    ///
    /// # Errors
    ///
    /// When the backend broke the protocol.
    pub fn receive(&mut self, into: &mut Vec<u8>) -> Result<Option<Received>, DeviceError> {
        for lane in &mut self.lanes {
            if let Some(received) = lane.rx.pop(into)? {
                return Ok(Some(received));
            }
        }
        Ok(None)
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
