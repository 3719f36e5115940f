//! A card on the switch.

use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::cell::Cell;
use core::future::poll_fn;
use core::task::{Context, Poll};

use super::arrivals::Arrivals;
use super::{PortId, Route, Switch, Target};
use crate::host::{Host, Nic, Piece};
use crate::netback::frames::Frames;
use crate::netback::offload::acknowledge::Bare;
use crate::netback::packet::{HEADER, addresses};
use crate::netback::scratch::Scratch;
use crate::signal::Signal;

/// Frames taken from the card in one go.
const BATCH: usize = 64;
/// Pages of the card's that may wait for guests, all of them together: half of what it has.
pub(super) const MAX_HELD: usize = 128;

/// A card.
pub(in crate::netback) struct Uplink {
    nic: Rc<dyn Nic>,
    pub(super) held: Rc<Cell<usize>>,
}

impl Uplink {
    pub(super) fn new(nic: Rc<dyn Nic>) -> Self {
        Self {
            nic,
            held: Rc::default(),
        }
    }

    /// The longest packet that its network carries.
    pub(super) fn mtu(&self) -> u16 {
        self.nic.mtu()
    }

    /// Sends frames; whether any went.
    pub(in crate::netback) fn transmit(&self, frames: &Frames) -> bool {
        let mut sent = false;
        for frame in frames.iter() {
            let len: usize = frame.iter().map(|piece| piece.len).sum();
            sent |= len <= self.nic.max_frame() && self.nic.transmit(frame);
        }
        sent
    }

    /// Tells the card about them.
    pub(in crate::netback) fn kick(&self) {
        self.nic.kick();
    }
}

/// Takes what the card has, as far as there is room; whether there is anything then.
fn take(nic: &dyn Nic, frames: &mut Frames, context: &mut Context<'_>) -> bool {
    let mut frame = |pieces: &mut Vec<Piece>| nic.poll_receive(context, pieces).is_ready();
    while frames.len() < BATCH && frames.add(&mut frame) {}
    frames.len() > 0
}

/// A card's place on a switch that may go away.
pub(super) struct Attached {
    switch: Weak<Switch>,
    port: PortId,
    ended: Rc<Signal>,
}

impl Attached {
    pub(super) fn new(switch: &Rc<Switch>, port: PortId) -> Self {
        Self {
            switch: Rc::downgrade(switch),
            port,
            ended: switch.ended.clone(),
        }
    }

    /// Passes on what the card receives, until the switch is gone.
    pub(super) async fn run(self, host: Rc<dyn Host>, uplink: Rc<Uplink>) {
        let mut frames = Frames::default();
        loop {
            self.receive(&uplink, &mut frames).await;
            let Some(switch) = self.switch.upgrade() else {
                return;
            };
            if let Ok(scratch) = switch.scratch(&*host) {
                let mut scratch = scratch.borrow_mut();
                scratch.begin();
                let mut arrivals = Arrivals::new(&uplink, host.now());
                self.forward_all(&switch, &frames, &mut arrivals, &mut scratch);
                scratch.plan.run(&*host);
                scratch.end();
            }
            frames.clear();
        }
    }

    /// Waits for frames, or for the end of the switch.
    async fn receive(&self, uplink: &Uplink, frames: &mut Frames) {
        let mut paused = false;
        poll_fn(|context| {
            if self.switch.strong_count() == 0 || self.ended.poll_after(0, context).is_ready() {
                return Poll::Ready(());
            }
            if !take(&*uplink.nic, frames, context) {
                return Poll::Pending;
            }
            if frames.len() == BATCH && !paused {
                // Others have their turn before such a flood goes on.
                paused = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Passes on what says anything: of acknowledgements in a row, the last.
    fn forward_all(
        &self,
        switch: &Switch,
        frames: &Frames,
        arrivals: &mut Arrivals<'_>,
        scratch: &mut Scratch,
    ) {
        let mut before: Option<(&[Piece], Option<Bare>)> = None;
        for frame in frames.iter() {
            let bare = Bare::read(frame);
            if let Some((frame, old)) = before.replace((frame, bare))
                && !bare
                    .zip(old)
                    .is_some_and(|(bare, old)| bare.supersedes(&old))
            {
                self.forward(switch, frame, arrivals, scratch);
            }
        }
        if let Some((last, _)) = before {
            self.forward(switch, last, arrivals, scratch);
        }
        arrivals.end(scratch);
    }

    fn forward(
        &self,
        switch: &Switch,
        pieces: &[Piece],
        arrivals: &mut Arrivals<'_>,
        scratch: &mut Scratch,
    ) {
        let mut bytes = [0; HEADER];
        let header = first_bytes(pieces, &mut bytes);
        let Some((dest, source)) = addresses(header) else {
            return;
        };
        if let Some(to) = arrivals.known_way(dest, source) {
            arrivals.unicast(&to, header, pieces, scratch);
            return;
        }
        // Nobody out there is one of our guests.
        if !switch.learn(self.port, source, arrivals.now) {
            return;
        }
        match switch.route(self.port, dest, arrivals.now) {
            Route::Nowhere | Route::To(Target::Uplink(_)) => {}
            Route::To(Target::Vif(to)) => {
                arrivals.remember_way(dest, source, &to);
                arrivals.unicast(&to, header, pieces, scratch);
            }
            Route::Flood(targets) => arrivals.flood(&targets, header, pieces, scratch),
        }
    }
}

/// A frame's first bytes: as many as there are and `bytes` holds.
fn first_bytes<'a>(pieces: &[Piece], bytes: &'a mut [u8; HEADER]) -> &'a [u8] {
    let mut len = 0;
    for piece in pieces {
        let rest = bytes.get_mut(len..).unwrap_or_default();
        let count = piece.len.min(rest.len());
        piece.read(0, rest.get_mut(..count).unwrap_or_default());
        len += count;
    }
    bytes.get(..len).unwrap_or_default()
}
