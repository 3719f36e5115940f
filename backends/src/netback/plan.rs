//! Copies to be made, all in one go, and who is to be told of them.
//!
//! A packet is a list of parts: pieces of memory that lie one behind the other in it. Placing it
//! somewhere adds copies to the plan; running the plan makes them. A copy that fails is somebody's
//! fault: that vif is disconnected.

use alloc::rc::Rc;
use alloc::vec::Vec;

use guest_abi::DomId;
use guest_abi::grant_table::GrantStatus;
use guest_abi::ids::GrantRef;

use super::tx::validate::Slot;
use super::vif::QueueRef;
use crate::host::{Copy, CopyEnd, Host, IoMemory, Piece};
use crate::xenbus::Refusal;

/// Where bytes lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// In a page that a guest has granted.
    Grant {
        domain: DomId,
        reference: GrantRef,
        offset: usize,
    },
    /// In memory of ours, by its number in the plan.
    Own { memory: usize, offset: usize },
}

impl End {
    /// So many bytes further on.
    pub(super) fn skip(mut self, bytes: usize) -> Self {
        match &mut self {
            Self::Grant { offset, .. } | Self::Own { offset, .. } => *offset += bytes,
        }
        self
    }

    fn resolve(self, memories: &[Rc<dyn IoMemory>]) -> Option<CopyEnd<'_>> {
        Some(match self {
            Self::Grant {
                domain,
                reference,
                offset,
            } => CopyEnd::Grant {
                domain,
                reference,
                offset: u16::try_from(offset).ok()?,
            },
            Self::Own { memory, offset } => CopyEnd::Own {
                memory: &**memories.get(memory)?,
                offset,
            },
        })
    }
}

/// A piece of a packet, within one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) source: End,
    pub(super) len: usize,
    /// It begins a page of its own, so that a copy that begins one too is never split.
    pub(super) fresh: bool,
}

/// The response that announces what a copy brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    /// Whose, by its number in the plan.
    pub(super) party: usize,
    /// Which of its responses.
    pub(super) response: usize,
}

/// A copy to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) source: End,
    pub(super) dest: End,
    pub(super) len: usize,
    /// Whose packet it is, if a guest's: by its number in the plan.
    pub(super) sender: Option<usize>,
    pub(super) announced: Option<Announced>,
}

/// Copies to be made, and who takes part.
#[derive(Default)]
pub(super) struct Plan {
    memories: Vec<Rc<dyn IoMemory>>,
    parties: Vec<QueueRef>,
    pub(super) ops: Vec<Op>,
}

impl Plan {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.memories.clear();
        self.parties.clear();
        self.ops.clear();
    }

    /// The number of a piece of memory.
    pub(super) fn memory(&mut self, memory: &Rc<dyn IoMemory>) -> usize {
        match self.memories.last() {
            Some(last) if Rc::ptr_eq(last, memory) => {}
            _ => self.memories.push(memory.clone()),
        }
        self.memories.len() - 1
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
        let failed = self.copy(host);
        for (op, status) in failed {
            self.blame(host, &op, status);
        }
        self.ops.clear();
        for party in &self.parties {
            party.announce();
        }
    }

    /// Lets the guests that take part see which of their packets are done.
    pub(super) fn answer(&self) {
        for party in &self.parties {
            party.answer();
        }
    }

    /// Makes the copies; which failed, and how.
    pub(super) fn copy(&self, host: &dyn Host) -> Vec<(Op, GrantStatus)> {
        if self.ops.is_empty() {
            return Vec::new();
        }
        let mut copies = Vec::with_capacity(self.ops.len());
        for op in &self.ops {
            let ends = op
                .source
                .resolve(&self.memories)
                .zip(op.dest.resolve(&self.memories));
            // Both ends are within a page, so nothing is ever left out.
            let (Some((source, dest)), Ok(len)) = (ends, u16::try_from(op.len)) else {
                continue;
            };
            copies.push(Copy {
                source,
                dest,
                len,
                status: GrantStatus::Okay,
            });
        }
        host.copy_grants(&mut copies);
        self.ops
            .iter()
            .zip(&copies)
            .filter(|(_, copy)| copy.status != GrantStatus::Okay)
            .map(|(op, copy)| (*op, copy.status))
            .collect()
    }

    /// Disconnects who is at fault for a copy that failed.
    fn blame(&self, host: &dyn Host, op: &Op, status: GrantStatus) {
        let receiver = op.announced.and_then(|announced| {
            let party = self.parties.get(announced.party)?;
            party.spoil(announced.response);
            Some(party)
        });
        let sender = op.sender.and_then(|sender| self.parties.get(sender));
        match (sender, receiver) {
            (Some(sender), Some(receiver)) => match self.probe(host, op) {
                GrantStatus::Okay => receiver.refuse(receive_refused(op, status)),
                status => sender.refuse(transmit_refused(op, status)),
            },
            (Some(sender), None) => sender.refuse(transmit_refused(op, status)),
            (None, Some(receiver)) => receiver.refuse(receive_refused(op, status)),
            (None, None) => {}
        }
    }

    /// How the source of a copy fares alone.
    fn probe(&self, host: &dyn Host, op: &Op) -> GrantStatus {
        let source = op.source.resolve(&self.memories);
        let (Some(source), Ok(scratch)) = (source, host.pages(1)) else {
            return GrantStatus::Okay;
        };
        let mut copies = [Copy {
            source,
            dest: CopyEnd::Own {
                memory: &*scratch,
                offset: 0,
            },
            len: u16::try_from(op.len).unwrap_or(0),
            status: GrantStatus::Okay,
        }];
        host.copy_grants(&mut copies);
        let [copy] = copies;
        copy.status
    }
}

/// Why a sender is disconnected.
pub(super) fn transmit_refused(op: &Op, status: GrantStatus) -> Refusal {
    refused("a packet to transmit", op.source, status)
}

fn receive_refused(op: &Op, status: GrantStatus) -> Refusal {
    refused("a buffer to receive into", op.dest, status)
}

fn refused(what: &str, end: End, status: GrantStatus) -> Refusal {
    let reference = match end {
        End::Grant { reference, .. } => reference,
        End::Own { .. } => GrantRef::default(),
    };
    Refusal::new(alloc::format!("{what}: grant {reference}: {status:?}"))
}

/// The parts of a guest's packet: its verified header from our own copy, the rest as it lies.
pub(super) fn packet_parts(
    parts: &mut Vec<Part>,
    domain: DomId,
    header: End,
    header_len: usize,
    slots: &[Slot],
) {
    parts.clear();
    parts.push(Part {
        source: header,
        len: header_len,
        fresh: true,
    });
    let mut skip = header_len;
    for (index, slot) in slots.iter().enumerate() {
        let len = usize::from(slot.len);
        let skipped = skip.min(len);
        skip -= skipped;
        if len > skipped {
            let start = End::Grant {
                domain,
                reference: slot.reference,
                offset: usize::from(slot.offset),
            };
            parts.push(Part {
                source: start.skip(skipped),
                len: len - skipped,
                fresh: index > 0,
            });
        }
    }
}

/// The parts of a frame in memory of ours. Its first `header_len` bytes lie at `header` rather, if
/// that is not 0.
pub(super) fn frame_parts(
    parts: &mut Vec<Part>,
    plan: &mut Plan,
    (header, header_len): (End, usize),
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
    let mut skip = header_len;
    for piece in pieces {
        let skipped = skip.min(piece.len);
        skip -= skipped;
        if piece.len > skipped {
            let memory = plan.memory(&piece.memory);
            parts.push(Part {
                source: End::Own {
                    memory,
                    offset: piece.offset + skipped,
                },
                len: piece.len - skipped,
                fresh: false,
            });
        }
    }
    if let Some(first) = parts.first_mut() {
        first.fresh = true;
    }
}
