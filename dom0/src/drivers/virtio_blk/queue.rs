//! Requests on their way through a virtio disk's queue.
//!
//! ```text
//!   submit ─▶ ticket ─▶ parts on the ring ─▶ device ─▶ collect ─▶ ticket done, its task woken
//!                └─▶ waits its turn, when the ring is full
//! ```
//!
//! A request that is longer than the device allows goes in parts; pieces that lie side by side go
//! as one segment. What is done with a ticket's memory is over before the ticket ends, whether its
//! user still waits or not. Tickets wait in the order in which they came; there are no more of them
//! than users have requests under way.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use backends::host::{DiskError, DiskRequest};
use guest_abi::Errno;
use slab::Slab;

use super::config::Limits;
use super::ticket::{Command, Ticket};
use crate::drivers::chains::{Chain, Chains};
use crate::drivers::dma::DmaPage;
use crate::drivers::ring::{Ring, Segment};

/// In a slot's own bytes: the header, the status, the range of a discard.
const HEADER_BYTES: u32 = 16;
const STATUS: usize = 16;
const RANGE: usize = 32;
const RANGE_BYTES: u32 = 16;
/// The status of a part that the device never looked at, and of one that succeeded.
const STATUS_NONE: u64 = 0xff;
const STATUS_OKAY: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;

/// A disk's queue.
#[derive(Debug)]
pub(super) struct Queue<M> {
    chains: Chains<M>,
    limits: Limits,
    tickets: Slab<Ticket>,
    /// Which ticket each slot works for.
    owners: Vec<usize>,
    waiting: VecDeque<usize>,
    /// Something is on the ring that the device was not told about.
    unannounced: bool,
}

impl<M: DmaPage> Queue<M> {
    /// A queue with room for `size` parts.
    pub(super) fn new(size: u16, limits: Limits) -> Result<Self, Errno> {
        Ok(Self {
            chains: Chains::new(size)?,
            limits,
            tickets: Slab::new(),
            owners: alloc::vec![0; size.into()],
            waiting: VecDeque::new(),
            unannounced: false,
        })
    }

    /// The ring below.
    pub(super) fn ring(&self) -> &Ring<M> {
        self.chains.ring()
    }

    /// Takes a request; answers its ticket's number.
    pub(super) fn submit(&mut self, request: DiskRequest) -> usize {
        let mut ticket = Ticket::new(request);
        if ticket.command == Command::Discard && self.limits.discard_sectors == 0 {
            ticket.failure = Some(DiskError::Unsupported);
        }
        if !self.limits.has_cache {
            (ticket.flush, ticket.durable) = (false, false);
        }
        let number = self.tickets.insert(ticket);
        self.go_on(number);
        number
    }

    /// Whether the device must be told of something; it counts as told from now on.
    pub(super) fn announce(&mut self) -> bool {
        core::mem::take(&mut self.unannounced) && self.chains.ring().wants_notification()
    }

    /// Whether the device was not told of something.
    pub(super) fn is_unannounced(&self) -> bool {
        self.unannounced
    }

    /// How a request has ended; the number is then nobody's.
    pub(super) fn poll(
        &mut self,
        number: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), DiskError>> {
        let Some(ticket) = self.tickets.get_mut(number) else {
            return Poll::Ready(Err(DiskError::Io));
        };
        if !ticket.is_done {
            match &mut ticket.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        let failure = self.tickets.remove(number).failure;
        Poll::Ready(failure.map_or(Ok(()), Err))
    }

    /// Nobody waits for a request any more. It is done nevertheless.
    pub(super) fn abandon(&mut self, number: usize) {
        match self.tickets.get_mut(number) {
            Some(ticket) if ticket.is_done => drop(self.tickets.remove(number)),
            Some(ticket) => ticket.is_abandoned = true,
            None => {}
        }
    }

    /// Takes back what the device is done with, and starts what waited for that.
    pub(super) fn collect(&mut self) {
        while let Some(slot) = self.chains.take() {
            let status = self.status(slot);
            self.chains.give(slot);
            let Some(&number) = self.owners.get(usize::from(slot)) else {
                continue;
            };
            let Some(ticket) = self.tickets.get_mut(number) else {
                continue;
            };
            ticket.parts -= 1;
            if let Err(error) = status {
                ticket.failure = Some(error);
            }
            if ticket.is_over() {
                self.finish(number);
            }
        }
        self.start_waiting();
    }

    fn status(&self, slot: u16) -> Result<(), DiskError> {
        let (page, offset, _) = self.chains.scratch(slot).ok_or(DiskError::Io)?;
        match page.load_u8(offset + STATUS) {
            STATUS_OKAY => Ok(()),
            STATUS_UNSUPPORTED => Err(DiskError::Unsupported),
            _ => Err(DiskError::Io),
        }
    }

    fn start_waiting(&mut self) {
        while let Some(&number) = self.waiting.front() {
            if !self.ask(number) {
                return;
            }
            self.waiting.pop_front();
            if let Some(ticket) = self.tickets.get_mut(number) {
                ticket.is_waiting = false;
                if ticket.is_over() {
                    self.finish(number);
                }
            }
        }
    }

    /// Asks the device for what is left of a ticket, or lets it wait for its turn.
    fn go_on(&mut self, number: usize) {
        let asked = self.waiting.is_empty() && self.ask(number);
        let Some(ticket) = self.tickets.get_mut(number) else {
            return;
        };
        if !asked {
            ticket.is_waiting = true;
            self.waiting.push_back(number);
        } else if ticket.is_over() {
            self.finish(number);
        }
    }

    /// The device is done with a ticket: flushes behind it, or ends it.
    fn finish(&mut self, number: usize) {
        let Some(ticket) = self.tickets.get_mut(number) else {
            return;
        };
        if core::mem::take(&mut ticket.durable) && ticket.failure.is_none() {
            ticket.command = Command::Flush;
            ticket.flush = true;
            self.go_on(number);
            return;
        }
        if let Some(waker) = ticket.end() {
            waker.wake();
        }
        if ticket.is_abandoned {
            self.tickets.remove(number);
        }
    }

    /// Puts parts of a ticket on the ring; `false` when the ring is full before all are.
    fn ask(&mut self, number: usize) -> bool {
        let Some(ticket) = self.tickets.get_mut(number) else {
            return true;
        };
        while !ticket.is_asked() {
            let Some(chain) = self.chains.begin(ticket.pieces_left() + 2) else {
                return false;
            };
            if let Some(owner) = self.owners.get_mut(usize::from(chain.slot())) {
                *owner = number;
            }
            ask_part(&mut self.chains, &self.limits, ticket, chain);
            self.unannounced = true;
        }
        true
    }
}

/// Puts one part of a ticket on the ring.
fn ask_part<M: DmaPage>(
    chains: &mut Chains<M>,
    limits: &Limits,
    ticket: &mut Ticket,
    mut chain: Chain,
) {
    let slot = chain.slot();
    let Some((page, offset, address)) = chains.scratch(slot) else {
        return;
    };
    page.store_u64(offset, ticket.command as u64);
    page.store_u64(offset + 8, ticket.sector);
    page.store_u64(offset + STATUS, STATUS_NONE);
    let header = Segment {
        address,
        len: HEADER_BYTES,
        device_writes: false,
    };
    let status = Segment {
        address: address + STATUS as u64,
        len: 1,
        device_writes: true,
    };
    let mut data = None;
    if ticket.command == Command::Discard {
        let sectors = ticket.sectors.min(limits.discard_sectors.into());
        page.store_u64(offset + 8, 0);
        page.store_u64(offset + RANGE, ticket.sector);
        page.store_u64(offset + RANGE + 8, sectors);
        data = Some(Segment {
            address: address + RANGE as u64,
            len: RANGE_BYTES,
            device_writes: false,
        });
        ticket.sector += sectors;
        ticket.sectors -= sectors;
    }
    chains.add(&mut chain, header);
    if let Some(data) = data {
        chains.add(&mut chain, data);
    } else if !core::mem::take(&mut ticket.flush) {
        add_data(chains, limits, ticket, &mut chain);
    }
    ticket.parts += 1;
    chains.finish(chain, status);
}

/// Adds as many of a ticket's pieces as one part may have.
fn add_data<M: DmaPage>(
    chains: &Chains<M>,
    limits: &Limits,
    ticket: &mut Ticket,
    chain: &mut Chain,
) {
    let device_writes = ticket.command == Command::Read;
    // One place is the status's.
    let mut room = limits.segments.min(chain.room() - 1);
    let mut last: Option<Segment> = None;
    while let Some((address, len)) = ticket.next_bytes(limits.segment_bytes) {
        let Some(address) = M::machine_address_of(address) else {
            log::error!("virtio-blk: a piece of memory that is not mapped");
            ticket.failure = Some(DiskError::Io);
            break;
        };
        match &mut last {
            Some(last)
                if last.address + u64::from(last.len) == address
                    && len <= limits.segment_bytes - last.len =>
            {
                last.len += len;
            }
            _ => {
                if room == 0 {
                    break;
                }
                room -= 1;
                let segment = Segment {
                    address,
                    len,
                    device_writes,
                };
                if let Some(before) = last.replace(segment) {
                    chains.add(chain, before);
                }
            }
        }
        ticket.advance(len);
    }
    if let Some(last) = last {
        chains.add(chain, last);
    }
}

#[cfg(test)]
mod tests;
