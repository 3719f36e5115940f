//! A card on the switch.

use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::cell::Cell;
use core::future::poll_fn;
use core::task::{Context, Poll};

use super::arrivals::Arrivals;
use super::{PortId, Route, Switch, Target};
use crate::host::{Host, Nic, Piece};
use crate::netback::offload::acknowledge;
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
    pub(in crate::netback) fn transmit(&self, frames: Vec<Vec<Piece>>) -> bool {
        let mut sent = false;
        for frame in frames {
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

/// Frames that came in together.
#[derive(Default)]
struct Batch {
    pieces: Vec<Piece>,
    /// Where each frame's pieces end.
    ends: Vec<usize>,
}

impl Batch {
    /// Takes what the card has, as far as there is room; whether that is anything.
    fn fill(&mut self, nic: &dyn Nic, context: &mut Context<'_>) -> bool {
        while !self.is_full() && nic.poll_receive(context, &mut self.pieces).is_ready() {
            self.ends.push(self.pieces.len());
        }
        !self.ends.is_empty()
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= BATCH
    }

    /// The pieces of each frame.
    fn frames(&self) -> impl Iterator<Item = &[Piece]> {
        let starts = core::iter::once(&0).chain(&self.ends);
        let ranges = starts.zip(&self.ends).map(|(start, end)| *start..*end);
        ranges.filter_map(|range| self.pieces.get(range))
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.ends.clear();
    }
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
        let mut batch = Batch::default();
        loop {
            self.receive(&uplink, &mut batch).await;
            let Some(switch) = self.switch.upgrade() else {
                return;
            };
            if let Ok(scratch) = switch.scratch(&*host) {
                let mut scratch = scratch.borrow_mut();
                scratch.begin();
                let mut arrivals = Arrivals::new(&uplink, host.now());
                let mut frames = batch.frames().peekable();
                while let Some(frame) = frames.next() {
                    if !frames.peek().is_some_and(|next| says_it_all(next, frame)) {
                        self.forward(&switch, frame, &mut arrivals, &mut scratch);
                    }
                }
                arrivals.end(&mut scratch);
                scratch.plan.run(&*host);
                scratch.end();
            }
            batch.clear();
        }
    }

    /// Waits for frames, or for the end of the switch.
    async fn receive(&self, uplink: &Uplink, batch: &mut Batch) {
        let mut paused = false;
        poll_fn(|context| {
            if self.switch.strong_count() == 0 || self.ended.poll_after(0, context).is_ready() {
                return Poll::Ready(());
            }
            if !batch.fill(&*uplink.nic, context) {
                return Poll::Pending;
            }
            if batch.is_full() && !paused {
                // Others have their turn before such a flood goes on.
                paused = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
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

/// Whether a frame is an acknowledgement that makes the one before it superfluous.
fn says_it_all(frame: &[Piece], before: &[Piece]) -> bool {
    let (mut this, mut last) = ([0; HEADER], [0; HEADER]);
    let is_short = |pieces: &[Piece]| {
        let len: usize = pieces.iter().map(|piece| piece.len).sum();
        len <= acknowledge::LONGEST
    };
    is_short(before)
        && is_short(frame)
        && acknowledge::is_superseded(
            first_bytes(before, &mut last),
            first_bytes(frame, &mut this),
        )
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
