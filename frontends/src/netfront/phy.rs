//! The card as a device of the `smoltcp` TCP/IP stack.
//!
//! Checksums of TCP and UDP are left to the backend when sending; when receiving, those that are not
//! known to be right are verified here. TCP is sent uncut when the backend takes it so.

use alloc::vec;
use core::num::NonZeroUsize;

use guest_abi::io::netif::MAX_TX_SIZE;
use smoltcp::{
    phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium, PacketMeta},
    time::Instant,
};

use super::{Checksum, Gso, Link, Netfront, Offload, Sender, checksum};
use crate::xenbus::DeviceError;

/// A card for `smoltcp`. Call [`kick`](Netfront::kick) on [`card`](Self::card) after each poll of the
/// interface, and [`arm`](Netfront::arm) before sleeping.
#[derive(Debug)]
pub struct NetDevice {
    /// The card.
    pub card: Netfront,
    /// Why the card is of no more use, once it isn't.
    pub broken: Option<DeviceError>,
}

impl NetDevice {
    /// A device of this card.
    #[must_use]
    pub fn new(card: Netfront) -> Self {
        Self { card, broken: None }
    }

    /// The value, or remembers what broke.
    fn unless_broken<T>(&mut self, outcome: Result<T, DeviceError>) -> Option<T> {
        outcome.map_err(|error| self.broken = Some(error)).ok()
    }

    /// Fetches the next frame that is in order; whether there is one.
    fn fetch(&mut self) -> bool {
        while self.broken.is_none() {
            let received = self.card.receive();
            match self.unless_broken(received).flatten() {
                Some(it) if it.checksum != Checksum::Unknown => return true,
                Some(_) if checksum::is_right(self.card.frame()) => return true,
                Some(_) => {}
                None => return false,
            }
        }
        false
    }

    /// Whether a frame could be sent now.
    fn has_room(&mut self) -> bool {
        let room = self.card.has_room();
        self.broken.is_none() && self.unless_broken(room).unwrap_or(false)
    }
}

/// A frame that has come.
#[derive(Debug)]
pub struct RxToken<'a>(&'a [u8]);

/// Room for a frame to be sent.
#[derive(Debug)]
pub struct TxToken<'a> {
    sender: Sender<'a>,
    segment: Option<u16>,
}

impl<'a> TxToken<'a> {
    fn new(sender: Sender<'a>) -> Self {
        Self {
            sender,
            segment: None,
        }
    }
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        let link = *self.sender.link();
        // There was room when the token was made. A frame that is too long is lost, as on a wire.
        let Some(frame) = self.sender.room(len) else {
            return f(&mut vec![0; len]);
        };
        let result = f(frame);
        let offload = offload(&link, frame, self.segment);
        let _ = self.sender.send_built(len, offload);
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size.map(|size| size.get());
    }
}

/// Prepares a frame that has no checksum yet: what of it is left to the backend.
fn offload(link: &Link, frame: &mut [u8], segment: Option<u16>) -> Offload {
    let ipv6 = checksum::is_ipv6(frame);
    if ipv6 && !link.features.checksum_ipv6 {
        checksum::complete(frame);
        return Offload::default();
    }
    let checksum_blank = checksum::blank(frame);
    let gso = segment.filter(|_| frame.len() > link.longest_frame());
    Offload {
        checksum_blank,
        gso: gso.map(|size| Gso { size, ipv6 }),
    }
}

impl phy::Device for NetDevice {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        if !self.has_room() || !self.fetch() {
            return None;
        }
        let (frame, sender) = self.card.frame_and_sender()?;
        Some((RxToken(frame), TxToken::new(sender)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        if !self.has_room() {
            return None;
        }
        self.card.sender(0).map(TxToken::new)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let link = self.card.link();
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.card.longest_frame();
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities.checksum.tcp = phy::Checksum::None;
        capabilities.checksum.udp = phy::Checksum::None;
        if link.features.gso_ipv4 {
            capabilities.segmentation.tcpv4 = NonZeroUsize::new(MAX_TX_SIZE);
        }
        capabilities
    }
}
