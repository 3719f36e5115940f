//! A card on the switch.

use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::cell::Cell;
use core::future::poll_fn;
use core::task::Poll;

use guest_abi::PAGE_SIZE;

use super::{PortId, Route, Switch, Target};
use crate::host::{Host, Nic, Piece};
use crate::netback::deliver;
use crate::netback::packet::{HEADER, addresses};
use crate::netback::plan::frame_parts;
use crate::netback::rx::Load;
use crate::netback::rx::held::{Held, Token};
use crate::netback::scratch::Scratch;
use crate::signal::Signal;

/// Frames taken from the card in one go.
const BATCH: usize = 32;
/// Pages of the card's that may wait for guests, all of them together.
const MAX_HELD: usize = 64;

/// A card.
pub(in crate::netback) struct Uplink {
    nic: Rc<dyn Nic>,
    held: Rc<Cell<usize>>,
}

impl Uplink {
    pub(super) fn new(nic: Rc<dyn Nic>) -> Self {
        Self {
            nic,
            held: Rc::default(),
        }
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
        let mut frames = Vec::with_capacity(BATCH);
        loop {
            self.receive(&uplink, &mut frames).await;
            let Some(switch) = self.switch.upgrade() else {
                return;
            };
            let Ok(scratch) = switch.scratch(&*host) else {
                frames.clear();
                continue;
            };
            let mut scratch = scratch.borrow_mut();
            scratch.begin();
            let now = host.now();
            for frame in frames.drain(..) {
                self.forward(&switch, &uplink, frame, &mut scratch, now);
            }
            scratch.plan.run(&*host);
            scratch.end();
        }
    }

    /// Waits for frames, or for the end of the switch.
    async fn receive(&self, uplink: &Uplink, frames: &mut Vec<Piece>) {
        let mut paused = false;
        poll_fn(|context| {
            if self.switch.strong_count() == 0 || self.ended.poll_after(0, context).is_ready() {
                return Poll::Ready(());
            }
            while frames.len() < BATCH {
                match uplink.nic.poll_receive(context) {
                    Poll::Ready(frame) => frames.push(frame),
                    Poll::Pending => break,
                }
            }
            if frames.is_empty() {
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

    fn forward(
        &self,
        switch: &Switch,
        uplink: &Uplink,
        frame: Piece,
        scratch: &mut Scratch,
        now: u64,
    ) {
        let mut bytes = [0; HEADER];
        let len = frame.len.min(HEADER);
        let header = bytes.get_mut(..len).unwrap_or_default();
        frame.read(0, header);
        let Some((dest, source)) = addresses(header) else {
            return;
        };
        // Nobody out there is one of our guests.
        if !switch.learn(self.port, source, now) {
            return;
        }
        let received = Received {
            uplink,
            header,
            frame,
            now,
        };
        match switch.route(self.port, dest, now) {
            Route::Nowhere => {}
            Route::To(target) => received.send(&target, true, scratch),
            Route::Flood(targets) => targets
                .iter()
                .for_each(|target| received.send(target, false, scratch)),
        }
    }
}

/// A frame that came in.
struct Received<'a> {
    uplink: &'a Uplink,
    header: &'a [u8],
    frame: Piece,
    now: u64,
}

impl Received<'_> {
    fn send(&self, target: &Target, may_wait: bool, scratch: &mut Scratch) {
        let Target::Vif(to) = target else { return };
        let size = self.frame.len;
        if size > PAGE_SIZE && !to.abilities.scattered {
            to.counters.received.drop();
            return;
        }
        let pieces = core::slice::from_ref(&self.frame);
        frame_parts(&mut scratch.parts, &mut scratch.plan, pieces);
        let load = Load {
            parts: &scratch.parts,
            size,
            blank: false,
            validated: false,
            gso: None,
            sender: None,
        };
        let keep = || {
            Token::new(&self.uplink.held, MAX_HELD).map(|token| Held::Frame {
                pieces: pieces.to_vec(),
                token,
            })
        };
        let keep = may_wait.then_some(keep);
        deliver::place(to, self.header, &load, &mut scratch.plan, self.now, keep);
    }
}
