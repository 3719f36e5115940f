//! Where a packet goes, and how it gets there.

use alloc::rc::Rc;
use alloc::vec::Vec;

use guest_abi::grant_table::CopyEnd;

use crate::netback::deliver;
use crate::netback::offload::{self, Gathered};
use crate::netback::packet::{HEADER, addresses};
use crate::netback::plan::packet_parts;
use crate::netback::rx::Load;
use crate::netback::rx::held::Held;
use crate::netback::scratch::{Fate, Packet, Scratch};
use crate::netback::switch::{Route, Target};
use crate::netback::vif::{QueueRef, Vif};

/// A packet to be passed on.
struct Passing<'a> {
    queue: &'a QueueRef,
    index: usize,
    packet: &'a Packet,
    header: &'a [u8],
    /// How copies name the header's place.
    place: CopyEnd,
    now: u64,
}

/// Plans the way of every packet of a batch.
pub(super) fn all(queue: &QueueRef, scratch: &mut Scratch, now: u64) {
    for index in 0..scratch.packets.len() {
        let Some(packet) = scratch.packets.get(index).cloned() else {
            return;
        };
        let mut bytes = [0; HEADER];
        let header = scratch.get_header(index, packet.header_len, &mut bytes);
        let passing = Passing {
            queue,
            index,
            packet: &packet,
            header,
            place: scratch.header_place(index),
            now,
        };
        let fate = passing.forward(scratch);
        if let Some(packet) = scratch.packets.get_mut(index) {
            packet.fate = fate;
        }
    }
}

impl Passing<'_> {
    fn forward(&self, scratch: &mut Scratch) -> Fate {
        let vif = &self.queue.vif;
        let Some((dest, _)) = addresses(self.header) else {
            return Fate::Dropped;
        };
        let Some(port) = vif.port.get() else {
            return Fate::Dropped;
        };
        if !vif.identity.may_send(self.header) {
            return Fate::Dropped;
        }
        match vif.switch.route(port, dest, self.now) {
            Route::Nowhere => Fate::Dropped,
            Route::To(Target::Vif(to)) if self.needs_no_help(&to) => self.send(scratch, &to, true),
            Route::To(target) => self.gather(scratch, alloc::vec![target]),
            Route::Flood(targets) => self.flood(scratch, targets),
        }
    }

    fn needs_no_help(&self, to: &Vif) -> bool {
        to.abilities.take(&self.packet.request, self.header)
    }

    /// One copy to each; nobody waits for those that have no room.
    fn flood(&self, scratch: &mut Scratch, targets: Vec<Target>) -> Fate {
        let mut fate = Fate::Dropped;
        let mut helped = Vec::new();
        for target in targets {
            match &target {
                Target::Vif(to) if self.needs_no_help(to) => {
                    if self.send(scratch, to, false) == Fate::Sent {
                        fate = Fate::Sent;
                    }
                }
                _ => helped.push(target),
            }
        }
        if !helped.is_empty() {
            self.gather(scratch, helped);
        }
        fate
    }

    /// From page to page.
    fn send(&self, scratch: &mut Scratch, to: &Rc<Vif>, may_wait: bool) -> Fate {
        let request = &self.packet.request;
        let slots = scratch
            .slots
            .get(self.packet.slots.clone())
            .unwrap_or_default();
        packet_parts(
            &mut scratch.parts,
            self.queue.vif.domain,
            (self.place, self.packet.header_len),
            slots,
        );
        let load = Load {
            parts: &scratch.parts,
            size: request.size.into(),
            blank: request.blank,
            validated: request.validated,
            gso: request.gso,
            sender: Some(scratch.plan.party(self.queue)),
        };
        let keep = || {
            let mut tx = self.queue.get()?.tx.borrow_mut();
            let count = slots.len() + usize::from(request.extras);
            tx.hold(count).then(|| Held::Packet {
                sender: self.queue.clone(),
                header: self.header.to_vec(),
                slots: slots.to_vec(),
                request: *request,
            })
        };
        let keep = may_wait.then_some(keep);
        deliver::place(to, self.header, &load, &mut scratch.plan, self.now, keep)
    }

    /// By way of our own memory. Only what comes out of it in the end is sent.
    fn gather(&self, scratch: &mut Scratch, targets: Vec<Target>) -> Fate {
        let vif = &self.queue.vif;
        let slots = scratch
            .slots
            .get(self.packet.slots.clone())
            .unwrap_or_default();
        packet_parts(
            &mut scratch.parts,
            vif.domain,
            (self.place, self.packet.header_len),
            slots,
        );
        let sender = scratch.plan.party(self.queue);
        let size = usize::from(self.packet.request.size);
        let pieces = offload::gather(
            vif,
            self.header,
            size,
            sender,
            &scratch.parts,
            &mut scratch.plan,
        );
        let Some(pieces) = pieces else {
            return Fate::Dropped;
        };
        let mut header = [0; HEADER];
        header
            .iter_mut()
            .zip(self.header)
            .for_each(|(to, from)| *to = *from);
        scratch.gathered.push(Gathered {
            packet: self.index,
            request: self.packet.request,
            header,
            header_len: self.header.len(),
            pieces,
            targets,
        });
        Fate::Dropped
    }
}
