//! Copies to be made, all in one go, and who is to be told of them.
//!
//! A packet is a list of parts: pieces of memory that lie one behind the other in it. Placing it
//! somewhere adds copies to the plan; running the plan makes them. A copy that fails is somebody's
//! fault: that vif is disconnected.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;

use guest_abi::DomId;
use guest_abi::grant_table::{CopyEnd, GrantCopy, GrantStatus};

use super::tx::validate::Slot;
use super::vif::QueueRef;
use crate::host::copy::{copy, granted, skip, status};
use crate::host::{Host, IoMemory, Piece};
use crate::xenbus::Refusal;

/// A piece of a packet, within one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) source: CopyEnd,
    pub(super) len: u16,
    /// It begins a page of its own, so that a copy that begins one too is never split.
    pub(super) fresh: bool,
}

/// Who may be at fault when a copy fails: each by its number in the plan.
#[derive(Clone, Debug)]
pub(super) struct Concerned {
    /// Whose packet it is, if a guest's.
    pub(super) sender: Option<usize>,
    /// Whose buffers it fills, if a guest's, and the responses that announce the packet.
    pub(super) receiver: Option<(usize, Range<usize>)>,
}

/// Copies to be made, and who takes part.
#[derive(Default)]
pub(super) struct Plan {
    /// What copies name, so that it is there when they are made.
    memories: Vec<Rc<dyn IoMemory>>,
    parties: Vec<QueueRef>,
    copies: Vec<GrantCopy>,
    /// Whom copies concern: from which one on, up to the next of these.
    concerned: Vec<(usize, Concerned)>,
}

impl Plan {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.memories.clear();
        self.parties.clear();
        self.forget_copies();
    }

    fn forget_copies(&mut self) {
        self.copies.clear();
        self.concerned.clear();
    }

    /// A place in memory of ours, which stays until the copies are made.
    pub(super) fn own(
        &mut self,
        host: &dyn Host,
        memory: &Rc<dyn IoMemory>,
        offset: usize,
    ) -> CopyEnd {
        match self.memories.last() {
            Some(last) if Rc::ptr_eq(last, memory) => {}
            _ => self.memories.push(memory.clone()),
        }
        host.own(memory, offset)
    }

    /// One more copy.
    pub(super) fn copy(&mut self, source: CopyEnd, dest: CopyEnd, len: u16) {
        self.copies.push(copy(source, dest, len));
    }

    /// How many copies there are.
    pub(super) fn planned(&self) -> usize {
        self.copies.len()
    }

    /// Whom the copies concern that were planned since there were `first`.
    pub(super) fn concern(&mut self, first: usize, concerned: Concerned) {
        self.concerned.push((first, concerned));
    }

    /// The number of a queue that takes part.
    pub(super) fn party(&mut self, queue: &QueueRef) -> usize {
        let known = self.parties.iter().position(|party| party.is(queue));
        known.unwrap_or_else(|| {
            self.parties.push(queue.clone());
            self.parties.len() - 1
        })
    }

    /// Makes the copies, and tells those who get something. Nothing is planned any more then.
    pub(super) fn run(&mut self, host: &dyn Host) {
        if !self.make(host) {
            for (index, made) in self.copies.iter().enumerate() {
                self.blame(host, index, made);
            }
        }
        self.forget_copies();
        for party in &self.parties {
            party.announce();
        }
    }

    /// Makes copies that bring something to us.
    ///
    /// # Errors
    ///
    /// Why the guest they come from is to be disconnected.
    pub(super) fn fetch(&mut self, host: &dyn Host) -> Result<(), Refusal> {
        let all_made = self.make(host);
        let failed = |copy: &&GrantCopy| status(copy) != GrantStatus::Okay;
        let failed = self.copies.iter().find(failed).filter(|_| !all_made);
        let outcome = failed.map_or(Ok(()), |copy| {
            Err(transmit_refused(copy.source, status(copy)))
        });
        self.forget_copies();
        outcome
    }

    /// Lets the guests that take part see which of their packets are done.
    pub(super) fn answer(&self) {
        for party in &self.parties {
            party.answer();
        }
    }

    /// Makes the copies; whether none failed.
    fn make(&mut self, host: &dyn Host) -> bool {
        const OKAY: i16 = GrantStatus::Okay.number();
        if !self.copies.is_empty() {
            host.copy_grants(&mut self.copies);
        }
        self.copies.iter().all(|copy| copy.status == OKAY)
    }

    /// Disconnects who is at fault for a copy, if it failed.
    fn blame(&self, host: &dyn Host, index: usize, made: &GrantCopy) {
        let failure = status(made);
        let after = self.concerned.partition_point(|(first, _)| *first <= index);
        let concerned = after.checked_sub(1).and_then(|at| self.concerned.get(at));
        let Some((_, concerned)) = concerned.filter(|_| failure != GrantStatus::Okay) else {
            return;
        };
        let receiver = concerned.receiver.as_ref().and_then(|(party, responses)| {
            let party = self.parties.get(*party)?;
            party.spoil(responses.clone());
            Some(party)
        });
        let sender = concerned.sender.and_then(|sender| self.parties.get(sender));
        match (sender, receiver) {
            (Some(sender), Some(receiver)) => match probe(host, made) {
                GrantStatus::Okay => receiver.refuse(receive_refused(made.dest, failure)),
                failure => sender.refuse(transmit_refused(made.source, failure)),
            },
            (Some(sender), None) => sender.refuse(transmit_refused(made.source, failure)),
            (None, Some(receiver)) => receiver.refuse(receive_refused(made.dest, failure)),
            (None, None) => {}
        }
    }
}

/// How the source of a copy fares alone.
fn probe(host: &dyn Host, made: &GrantCopy) -> GrantStatus {
    let Ok(scratch) = host.pages(1) else {
        return GrantStatus::Okay;
    };
    let mut copies = [copy(made.source, host.own(&scratch, 0), made.len)];
    host.copy_grants(&mut copies);
    let [alone] = copies;
    status(&alone)
}

/// Why a sender is disconnected.
fn transmit_refused(end: CopyEnd, status: GrantStatus) -> Refusal {
    refused("a packet to transmit", end, status)
}

fn receive_refused(end: CopyEnd, status: GrantStatus) -> Refusal {
    refused("a buffer to receive into", end, status)
}

fn refused(what: &str, end: CopyEnd, status: GrantStatus) -> Refusal {
    let reference = end.reference();
    Refusal::new(alloc::format!("{what}: grant {reference}: {status:?}"))
}

/// The parts of a guest's packet: its verified header from our own copy, the rest as it lies.
pub(super) fn packet_parts(
    parts: &mut Vec<Part>,
    domain: DomId,
    (header, header_len): (CopyEnd, u16),
    slots: &[Slot],
) {
    parts.clear();
    parts.push(Part {
        source: header,
        len: header_len,
        fresh: true,
    });
    let mut skipped = header_len;
    for (index, slot) in slots.iter().enumerate() {
        let len = slot.len.saturating_sub(skipped);
        if len > 0 {
            let start = granted(domain, slot.reference, slot.offset);
            parts.push(Part {
                source: skip(start, skipped),
                len,
                fresh: index > 0,
            });
        }
        skipped = skipped.saturating_sub(slot.len);
    }
}

/// The parts of a frame in memory of ours. Its first `header_len` bytes lie at `header` rather, if
/// that is not 0.
pub(super) fn frame_parts(
    parts: &mut Vec<Part>,
    plan: &mut Plan,
    host: &dyn Host,
    (header, header_len): (CopyEnd, u16),
    pieces: &[Piece],
) {
    parts.clear();
    if header_len > 0 {
        parts.push(Part {
            source: header,
            len: header_len,
            fresh: false,
        });
    }
    let mut skipped = header_len;
    for piece in pieces {
        // A piece is not longer than its page.
        let whole = u16::try_from(piece.len).unwrap_or(0);
        let len = whole.saturating_sub(skipped);
        if len > 0 {
            let start = piece.offset + usize::from(skipped);
            parts.push(Part {
                source: plan.own(host, &piece.memory, start),
                len,
                fresh: false,
            });
        }
        skipped = skipped.saturating_sub(whole);
    }
    if let Some(first) = parts.first_mut() {
        first.fresh = true;
    }
}
