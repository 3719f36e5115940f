//! From requests in a ring to requests of the disk, and back.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use guest_abi::io::blkif::Segment;
use guest_abi::io::ring::Overrun;

use super::Blkback;
use super::complaints::Complaints;
use super::flight::{Ended, Flight};
use super::job::{Job, Kind};
use super::order::{Barrier, Order};
use super::plan::{Member, Members, Transfer};
use super::queue::Queue;
use super::ring::Slot;
use super::statistics::Counters;
use super::validate::{Asked, Bad, Direction, Limits, decode, tag};
use crate::host::{Disk, DiskError, DiskFuture, DiskRequest};

/// A request that may be done.
enum Prepared {
    Transfer(Transfer),
    Barrier(Barrier),
    Flush(Member),
    Discard(u64, Member),
}

/// The requests of one connection.
pub(super) struct Work<'a> {
    disk: &'a Rc<dyn Disk>,
    counters: &'a Counters,
    limits: Limits,
    flight: Flight<Job>,
    order: Order,
    complaints: Complaints,
    /// The transfer that the next one may continue.
    pending: Option<Transfer>,
    /// Where segments of indirect requests are copied to.
    segments: Vec<Segment>,
    /// How many reads and writes are under way.
    transfers: u32,
    /// Sources of requests that the disk was not told of.
    fresh: Vec<usize>,
}

impl<'a> Work<'a> {
    pub(super) fn new(blkback: &'a Blkback, complaints: Complaints, flight: Flight<Job>) -> Self {
        Self {
            disk: &blkback.disk,
            counters: &blkback.counters,
            limits: blkback.options.limits(&blkback.disk.geometry()),
            flight,
            order: Order::new(),
            complaints,
            pending: None,
            segments: Vec::new(),
            transfers: 0,
            fresh: Vec::new(),
        }
    }

    /// Whether everything taken is answered.
    pub(super) fn is_idle(&self) -> bool {
        self.flight.len() == 0 && self.order.may_take()
    }

    /// Whether a barrier waits for nothing any more.
    pub(super) fn may_release(&self) -> bool {
        self.flight.len() == 0 && self.order.is_waiting()
    }

    /// Whether another request could be taken now.
    pub(super) fn may_take(&self) -> bool {
        // The transfer that is kept back needs a place, too.
        let promised = usize::from(self.pending.is_some());
        self.order.may_take() && self.flight.room() > promised
    }

    /// How many requests may gather in a ring before we want to know: while many transfers are
    /// under way, the end of one of them will wake us anyhow.
    pub(super) fn may_wait_for(&self) -> u32 {
        if u32::try_from(self.flight.len()) == Ok(self.transfers) {
            self.transfers / 8
        } else {
            0
        }
    }

    /// Tells the disk about all that it was given, once, and then begins to wait for it.
    pub(super) fn kick(&mut self, queues: &mut [Queue]) {
        if self.fresh.is_empty() {
            return;
        }
        self.disk.kick();
        let mut fresh = core::mem::take(&mut self.fresh);
        for source in fresh.drain(..) {
            self.poll(source, queues);
        }
        self.fresh = fresh;
    }

    /// Takes what waits in ring number `index`.
    pub(super) fn take_from(&mut self, index: usize, queues: &mut [Queue]) -> Result<(), Overrun> {
        let mut waiting = match queues.get(index) {
            Some(queue) => queue.ring.waiting()?,
            None => 0,
        };
        while waiting > 0
            && self.may_take()
            && let Some(queue) = queues.get_mut(index).filter(|queue| queue.has_room())
        {
            waiting -= 1;
            let slot = queue.ring.take();
            match self.prepare(&slot, index, queue) {
                Ok(prepared) => self.dispatch(prepared),
                Err(bad) => {
                    self.counters.errors.add(1);
                    self.complaints.about(&bad);
                    queue.answer(tag(&slot), bad.status());
                }
            }
        }
        self.submit_pending();
        Ok(())
    }

    /// Checks a request and finds its memory. Nothing has happened yet if it is refused.
    fn prepare(&mut self, slot: &Slot, index: usize, queue: &mut Queue) -> Result<Prepared, Bad> {
        let mut member = Member {
            queue: index,
            tag: tag(slot),
            sectors: 0,
            pages: 0,
        };
        let (direction, sector, segments) = match decode(slot, &self.limits)? {
            Asked::Flush => return Ok(Prepared::Flush(member)),
            Asked::FlushBarrier => return Ok(Prepared::Barrier(Barrier::Empty(member))),
            Asked::Discard { sector, sectors } => {
                member.sectors = sectors;
                return Ok(Prepared::Discard(sector, member));
            }
            Asked::Direct {
                direction,
                sector,
                count,
                segments,
            } => {
                self.segments.clear();
                self.segments.extend(segments.iter().take(count));
                (direction, sector, &self.segments)
            }
            Asked::Indirect {
                direction,
                sector,
                count,
                page,
            } => {
                queue.grants.segments(page, count, &mut self.segments)?;
                (direction, sector, &self.segments)
            }
        };
        member.sectors = self.limits.check(direction, sector, segments)?;
        member.pages = segments.len();
        let write = direction != Direction::Read;
        let pieces = queue.grants.pieces(segments, !write)?;
        queue.begin(member.pages);
        let transfer = Transfer::new(write, sector, pieces, member);
        Ok(match direction {
            Direction::Barrier => Prepared::Barrier(Barrier::Write(transfer)),
            _ => Prepared::Transfer(transfer),
        })
    }

    /// Passes a request on, or keeps it for what may follow it.
    fn dispatch(&mut self, prepared: Prepared) {
        match prepared {
            Prepared::Transfer(next) => {
                match &mut self.pending {
                    Some(last) if last.continues_in(&next) => {
                        self.counters.merged.add(1);
                        return last.append(next);
                    }
                    _ => self.submit_pending(),
                }
                self.pending = Some(next);
            }
            Prepared::Flush(member) => {
                let flush = self.disk.submit(DiskRequest::Flush);
                self.start(Kind::Flush, flush, member.into());
            }
            Prepared::Discard(sector, member) => {
                let sectors = member.sectors;
                let discard = self.disk.submit(DiskRequest::Discard { sector, sectors });
                self.start(Kind::Discard, discard, member.into());
            }
            Prepared::Barrier(barrier) => {
                self.submit_pending();
                self.order.hold(barrier);
            }
        }
    }

    /// Gives the disk the transfer that was kept.
    fn submit_pending(&mut self) {
        if let Some(transfer) = self.pending.take() {
            let kind = if transfer.write {
                Kind::Write
            } else {
                Kind::Read
            };
            let (request, members) = transfer.into_request(false);
            self.start(kind, self.disk.submit(request), members);
        }
    }

    /// Begins the barrier that waits, if nothing is under way any more.
    pub(super) fn release_barrier(&mut self) {
        if !self.may_release() {
            return;
        }
        let (kind, future, members) = match self.order.release() {
            None => return,
            Some(Barrier::Empty(member)) => {
                let flush = match self.order.needs_flush() {
                    true => self.disk.submit(DiskRequest::Flush),
                    false => Box::pin(async { Ok(()) }),
                };
                (Kind::FlushBarrier, flush, member.into())
            }
            Some(Barrier::Write(transfer)) => {
                let (request, members) = transfer.into_request(true);
                let write = match self.order.needs_flush() {
                    true => flush_then(self.disk, request),
                    false => self.disk.submit(request),
                };
                (Kind::WriteBarrier, write, members)
            }
        };
        self.start(kind, future, members);
    }

    fn start(&mut self, kind: Kind, future: DiskFuture, members: Members) {
        let covers = self.order.made();
        let job = Job {
            kind,
            members,
            covers,
        };
        self.transfers += u32::from(kind.is_transfer());
        self.fresh.push(self.flight.start(future, job));
    }

    /// Looks after the request of a source: it was woken, or is new.
    pub(super) fn poll(&mut self, source: usize, queues: &mut [Queue]) {
        if let Some(ended) = self.flight.poll(source) {
            self.finish(ended, queues);
        }
    }

    /// Answers those whose request has ended.
    fn finish(&mut self, (result, job): Ended<Job>, queues: &mut [Queue]) {
        let Job {
            kind,
            members,
            covers,
        } = job;
        self.transfers -= u32::from(kind.is_transfer());
        match kind {
            Kind::Read => {}
            // Even one that failed may have changed something.
            Kind::Write | Kind::Discard => self.order.changed(),
            Kind::Flush if result.is_err() => {}
            Kind::Flush => self.order.flushed(covers),
            Kind::FlushBarrier | Kind::WriteBarrier => {
                self.order.resume();
                match result {
                    Ok(()) => self.order.flushed(covers),
                    Err(_) => self.order.changed(),
                }
            }
        }
        let status = kind.status(result);
        for member in members.iter() {
            self.count(kind, member, result);
            if let Some(queue) = queues.get_mut(member.queue) {
                queue.finish(member, status);
            }
        }
    }

    fn count(&mut self, kind: Kind, member: &Member, result: Result<(), DiskError>) {
        let counters = self.counters;
        if let Err(error) = result {
            counters.errors.add(1);
            self.complaints.about(&format_args!("{kind:?}: {error}"));
        }
        match kind {
            Kind::Read => {
                counters.reads.add(1);
                counters.sectors_read.add(member.sectors);
            }
            Kind::Write | Kind::WriteBarrier => {
                counters.writes.add(1);
                counters.sectors_written.add(member.sectors);
            }
            Kind::Flush | Kind::FlushBarrier => counters.flushes.add(1),
            Kind::Discard => counters.discards.add(1),
        }
    }
}

/// A flush, and then a request.
fn flush_then(disk: &Rc<dyn Disk>, request: DiskRequest) -> DiskFuture {
    let (disk, flush) = (disk.clone(), disk.submit(DiskRequest::Flush));
    Box::pin(async move {
        flush.await?;
        let done = disk.submit(request);
        disk.kick();
        done.await
    })
}
