//! The work on a connection's rings.
//!
//! Each turn: hear who was woken, answer what the disk has done, take what waits in the rings
//! and pass it on, publish all answers at once, and before sleeping ask each ring for a call and
//! look once more. A turn takes at most what was in the rings when it began, so a busy guest
//! takes turns with everybody else.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use guest_abi::io::ring::Overrun;

use super::Blkback;
use super::complaints::Complaints;
use super::flight::{Flight, Wakes};
use super::queue::Queue;
use super::work::Work;
use crate::host::Host;
use crate::xenbus::Refusal;

/// The source of wake-ups that means the end.
const STOP: usize = 0;
/// The source of the first ring's channel.
const CHANNELS: usize = 1;

/// A frontend's rings, mapped and bound, and who it is.
pub struct Connection {
    pub(super) host: Rc<dyn Host>,
    pub(super) name: String,
    pub(super) queues: Vec<Queue>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.name)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Serves until `stop` is done or the frontend breaks the rules; ends when the disk has
    /// finished all that was taken.
    pub(super) async fn serve(
        &mut self,
        blkback: &Blkback,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Refusal> {
        let mut stop = pin!(stop);
        let mut server = Server::new(self, blkback);
        poll_fn(|context| server.turn(stop.as_mut(), context)).await
    }
}

/// A connection being served.
struct Server<'a> {
    queues: &'a mut [Queue],
    wakes: Arc<Wakes>,
    stop_waker: Waker,
    channel_wakers: Vec<Waker>,
    work: Work<'a>,
    /// No more is taken: how it ends when the disk is done.
    ending: Option<Result<(), Refusal>>,
}

impl<'a> Server<'a> {
    fn new(connection: &'a mut Connection, blkback: &'a Blkback) -> Self {
        let wakes = Arc::new(Wakes::default());
        let complaints = Complaints::new(connection.name.clone(), connection.host.clone());
        let queues = connection.queues.as_mut_slice();
        let first_request = CHANNELS + queues.len();
        let flight = Flight::new(wakes.clone(), first_request);
        let stop_waker = wakes.source(STOP);
        let channel_wakers: Vec<_> = (CHANNELS..first_request)
            .map(|index| wakes.source(index))
            .collect();
        // Everybody is asked once, to know whom to wake.
        stop_waker.wake_by_ref();
        channel_wakers.iter().for_each(Waker::wake_by_ref);
        Self {
            queues,
            wakes,
            stop_waker,
            channel_wakers,
            work: Work::new(blkback, complaints, flight),
            ending: None,
        }
    }

    fn turn(
        &mut self,
        stop: Pin<&mut impl Future<Output = ()>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>> {
        self.wakes.register(context.waker());
        self.hear(stop);
        self.take();
        self.queues.iter_mut().for_each(Queue::publish);
        if self.work.is_idle()
            && let Some(end) = self.ending.take()
        {
            return Poll::Ready(end);
        }
        if self.more_to_do() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Polls whoever was woken.
    fn hear(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) {
        for source in self.wakes.take() {
            if source == STOP {
                let mut context = Context::from_waker(&self.stop_waker);
                if self.ending.is_none() && stop.as_mut().poll(&mut context).is_ready() {
                    self.ending = Some(Ok(()));
                }
                continue;
            }
            match source.checked_sub(CHANNELS) {
                Some(queue) if queue < self.queues.len() => self.hear_channel(queue),
                _ => self.work.poll(source, self.queues),
            }
        }
    }

    /// The event itself says nothing that the ring doesn't.
    fn hear_channel(&mut self, index: usize) {
        if let (Some(queue), Some(waker)) = (self.queues.get(index), self.channel_wakers.get(index))
        {
            let mut context = Context::from_waker(waker);
            while queue.channel.poll_event(&mut context).is_ready() {}
        }
    }

    /// Takes what waits in the rings, and passes it on.
    fn take(&mut self) {
        self.work.release_barrier();
        for index in 0..self.queues.len() {
            if self.ending.is_some() {
                break;
            }
            if let Err(overrun) = self.work.take_from(index, self.queues) {
                self.refuse(index, overrun);
            }
        }
        self.work.release_barrier();
        self.work.kick(self.queues);
    }

    /// Before sleeping: whether there is something to do after all.
    fn more_to_do(&mut self) -> bool {
        let may_take = self.ending.is_none() && self.work.may_take();
        let after = self.work.may_wait_for();
        let mut more = self.wakes.any() || self.work.may_release();
        for index in 0..self.queues.len() {
            let Some(queue) = self
                .queues
                .get(index)
                .filter(|queue| may_take && queue.has_room())
            else {
                // Whatever keeps us from taking will wake us when it ends.
                continue;
            };
            match queue.arm(after) {
                Ok(waiting) => more |= waiting,
                Err(overrun) => {
                    self.refuse(index, overrun);
                    more = true;
                }
            }
        }
        more
    }

    fn refuse(&mut self, queue: usize, overrun: Overrun) {
        let Overrun { claimed, possible } = overrun;
        self.ending = Some(Err(Refusal::new(alloc::format!(
            "ring {queue} claims {claimed} requests where {possible} are possible"
        ))));
    }
}
