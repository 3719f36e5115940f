//! One ring of a disk and the requests that are in flight on it.
//!
//! A request in flight keeps its pages, so that they are lent for as long as the backend may use
//! them; its number on the ring is its place here. A response is believed only if it names a place
//! where a request of that kind is in flight; all else means that the backend is broken.

use alloc::vec::Vec;

use guest_abi::{
    DomId,
    io::blkif::{BlkOperation, Response, SLOT_SIZE},
};

use super::{
    Completion, RequestId,
    request::{Failure, Operation, Request, outcome},
};
use crate::{grants::Grant, grants::GrantTable, ring::FrontRing, xenbus::DeviceError};

/// A request with the backend.
#[derive(Debug)]
struct Flight {
    request: Request,
    /// Where its segments are named, if there are many.
    table: Option<Grant>,
}

/// A ring and what is in flight on it.
#[derive(Debug)]
pub(super) struct Queue {
    ring: FrontRing,
    number: u16,
    handle: u16,
    flights: Vec<Option<Flight>>,
    /// Places that are free.
    free: Vec<u16>,
    /// Pages for segments, lent once and used again and again.
    tables: Vec<Grant>,
}

impl Queue {
    /// An empty queue on a fresh ring.
    pub(super) fn new(ring: FrontRing, number: u16, handle: u16) -> Self {
        let slots = u16::try_from(ring.slots()).unwrap_or(u16::MAX);
        Self {
            ring,
            number,
            handle,
            flights: (0..slots).map(|_| None).collect(),
            free: (0..slots).rev().collect(),
            tables: Vec::new(),
        }
    }

    pub(super) fn ring(&self) -> &FrontRing {
        &self.ring
    }

    /// Whether nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.free.len() == self.flights.len()
    }

    /// Puts a request that was checked on the ring; gives it back when there is no room.
    pub(super) fn push(
        &mut self,
        request: Request,
        grants: &GrantTable,
        backend: DomId,
    ) -> Result<RequestId, Request> {
        if self.ring.free() == 0 {
            return Err(request);
        }
        let mut table = None;
        if request.is_indirect() {
            let spare = self.tables.pop();
            table = spare.or_else(|| grants.lend(backend).ok());
            if table.is_none() {
                return Err(request);
            }
        }
        let Some(place) = self.free.pop() else {
            return Err(request);
        };
        let slot = request.encode(place, self.handle, table.as_ref());
        self.ring.push(slot.bytes());
        self.flights[usize::from(place)] = Some(Flight { request, table });
        Ok(RequestId {
            queue: self.number,
            place,
        })
    }

    /// Shows the backend what was pushed; whether to notify it.
    pub(super) fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Asks to be told of the next response; whether one is there already.
    pub(super) fn arm(&mut self) -> bool {
        self.ring.arm()
    }

    /// The next request that the backend has answered.
    pub(super) fn pop(&mut self) -> Result<Option<Completion>, DeviceError> {
        match self.ring.pop() {
            Ok(response) => response.map(|response| self.land(response)).transpose(),
            Err(_) => Err(DeviceError::Broken("more answers than requests")),
        }
    }

    /// Finds the request that a response answers.
    fn land(&mut self, response: Response) -> Result<Completion, DeviceError> {
        let place = u16::try_from(response.id).ok();
        let flight = place.and_then(|place| self.flights.get_mut(usize::from(place)));
        let answered = flight.and_then(|flight| flight.take_if(|f| f.is_answered_by(response)));
        let (Some(place), Some(flight)) = (place, answered) else {
            return Err(DeviceError::Broken("an answer to no request"));
        };
        self.free.push(place);
        self.tables.extend(flight.table);
        Ok(Completion {
            id: RequestId {
                queue: self.number,
                place,
            },
            request: flight.request,
            result: outcome(response.status),
        })
    }

    /// Gives up everything in flight: the requests, in no order.
    pub(super) fn abandon(self) -> impl Iterator<Item = Completion> {
        let number = self.number;
        let flights = self.flights.into_iter().zip(0_u16..);
        flights.filter_map(move |(flight, place)| {
            Some(Completion {
                id: RequestId {
                    queue: number,
                    place,
                },
                request: flight?.request,
                result: Err(Failure::Closed),
            })
        })
    }
}

impl Flight {
    /// Whether a response is about an operation like this one.
    fn is_answered_by(&self, response: Response) -> bool {
        let expected = match self.request.operation {
            _ if self.table.is_some() => BlkOperation::Indirect,
            Operation::Read => BlkOperation::Read,
            Operation::Write => BlkOperation::Write,
            Operation::Barrier => BlkOperation::WriteBarrier,
            Operation::Flush => BlkOperation::FlushDiskcache,
            Operation::Discard { .. } => BlkOperation::Discard,
        };
        // Backends answer an indirect request by the operation meant, or by "indirect".
        response.operation == expected.number()
            || (self.table.is_some()
                && matches!(
                    BlkOperation::from_number(response.operation),
                    Some(BlkOperation::Read | BlkOperation::Write | BlkOperation::WriteBarrier)
                ))
    }
}

/// The bytes of a slot, for whoever makes the ring.
pub(super) const SLOT: usize = SLOT_SIZE;

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;

    use guest_abi::zerocopy::IntoBytes;

    use super::*;
    use crate::blkfront::request::Segment;

    struct World {
        grants: GrantTable,
        queue: Queue,
        answered: u32,
    }

    fn world() -> World {
        let grants = GrantTable::fake();
        let ring = FrontRing::new(&grants, DomId::new(0), 0, SLOT).unwrap();
        World {
            queue: Queue::new(ring, 0, 768),
            grants,
            answered: 0,
        }
    }

    impl World {
        fn read(&mut self, pages: usize) -> Result<RequestId, Request> {
            let page = |_| Segment::whole(self.grants.lend(DomId::new(0)).unwrap());
            let segments = (0..pages).map(page).collect();
            let request = Request::transfer(Operation::Read, 0, segments);
            let id = self.queue.push(request, &self.grants, DomId::new(0));
            self.queue.publish();
            id
        }

        fn answer(&mut self, id: u64, operation: BlkOperation, status: i16) {
            let response = Response {
                id,
                operation: operation.number(),
                status,
                ..Response::default()
            };
            let bytes = self.queue.ring.bytes();
            let slot = self.answered as usize % 32;
            bytes.write(64 + slot * SLOT, response.as_bytes());
            self.answered += 1;
            bytes.u32(8).store(self.answered, Ordering::Release);
        }
    }

    #[test]
    fn an_answered_request_comes_back_with_its_pages() {
        let mut world = world();
        let id = world.read(2).unwrap();
        assert!(world.queue.pop().unwrap().is_none());
        world.answer(id.place.into(), BlkOperation::Read, 0);
        let done = world.queue.pop().unwrap().unwrap();
        assert_eq!((done.id, done.result), (id, Ok(())));
        assert_eq!(done.request.segments.len(), 2);
        assert!(world.queue.is_idle());
    }

    #[test]
    fn an_answer_to_no_request_breaks_the_device() {
        for id in [1, 31, 32, u64::MAX] {
            let mut world = world();
            world.read(1).unwrap();
            world.answer(id, BlkOperation::Read, 0);
            assert!(world.queue.pop().is_err());
        }
    }

    #[test]
    fn a_second_answer_breaks_the_device() {
        let mut world = world();
        let first = world.read(1).unwrap();
        world.read(1).unwrap();
        world.answer(first.place.into(), BlkOperation::Read, 0);
        world.answer(first.place.into(), BlkOperation::Read, 0);
        assert!(world.queue.pop().is_ok());
        assert!(world.queue.pop().is_err());
    }

    #[test]
    fn an_answer_about_another_operation_breaks_the_device() {
        let mut world = world();
        let id = world.read(1).unwrap();
        world.answer(id.place.into(), BlkOperation::Write, 0);
        assert!(world.queue.pop().is_err());
    }

    #[test]
    fn a_full_ring_gives_the_request_back() {
        let mut world = world();
        for _ in 0..32 {
            world.read(1).unwrap();
        }
        assert!(world.read(1).is_err());
        assert_eq!(world.queue.abandon().count(), 32);
    }

    #[test]
    fn the_page_of_segments_is_used_again() {
        let mut world = world();
        for _ in 0..3 {
            let id = world.read(20).unwrap();
            world.answer(id.place.into(), BlkOperation::Read, 0);
            world.queue.pop().unwrap().unwrap();
            assert_eq!(world.queue.tables.len(), 1);
        }
    }
}
