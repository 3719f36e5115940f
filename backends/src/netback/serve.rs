//! Serves a connected frontend: waits for events, and runs passes over its queues.

use alloc::rc::Rc;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use super::next::Next;
use super::rx::held;
use super::scratch::Scratch;
use super::tx;
use super::vif::{QueueRef, Vif};
use crate::host::LocalFuture;
use crate::xenbus::Refusal;

/// Batches taken from one queue before others have their turn.
const BATCHES: usize = 4;

/// Serves until `stop` is done, or until the frontend breaks the rules.
pub(super) async fn serve(vif: &Rc<Vif>, stop: impl Future<Output = ()>) -> Result<(), Refusal> {
    let mut stop = pin!(stop);
    let mut timer = Timer::default();
    // Whoever served before us may have been about to tell the frontend something.
    for queue in &vif.queues {
        queue.tx_channel.notify();
        if let Some(channel) = &queue.rx_channel {
            channel.notify();
        }
    }
    loop {
        let seen = vif.signal.count();
        let next = work(vif)?;
        timer.set(vif, next);
        let mut yielded = next != Next::More;
        let stopped = poll_fn(|context| {
            // Most often it is an event. What else there may be is asked for before it sleeps.
            if events(vif, context) {
                return Poll::Ready(false);
            }
            if stop.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            if vif.signal.poll_after(seen, context).is_ready() | timer.poll(context) {
                return Poll::Ready(false);
            }
            if core::mem::replace(&mut yielded, true) {
                return if next == Next::More {
                    Poll::Ready(false)
                } else {
                    Poll::Pending
                };
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        if stopped.await {
            return Ok(());
        }
    }
}

/// Whether any channel has had an event. All are asked, so that each will wake us.
fn events(vif: &Vif, context: &mut Context<'_>) -> bool {
    let mut any = false;
    for queue in &vif.queues {
        any |= queue.tx_channel.poll_event(context).is_ready();
        if let Some(channel) = &queue.rx_channel {
            any |= channel.poll_event(context).is_ready();
        }
    }
    any
}

/// Does what there is to be done now.
fn work(vif: &Rc<Vif>) -> Result<Next, Refusal> {
    let mut next = Next::Idle;
    for queue in vif.refs() {
        let mut scratch = vif.scratch.borrow_mut();
        let passed = pass(&queue, &mut scratch);
        scratch.end();
        next = next.and(passed?);
    }
    match vif.refusal.borrow_mut().take() {
        Some(refusal) => Err(refusal),
        None => Ok(next),
    }
}

/// Does what there is to be done for one queue: what waits for buffers goes first.
fn pass(queue: &QueueRef, scratch: &mut Scratch) -> Result<Next, Refusal> {
    let receiving = held::drain(queue, scratch)?;
    let mut sending = Next::More;
    for _ in 0..BATCHES {
        sending = tx::pass(queue, scratch)?;
        if sending != Next::More {
            break;
        }
    }
    Ok(receiving.and(sending))
}

/// Wakes at a time.
#[derive(Default)]
struct Timer(Option<(u64, LocalFuture<()>)>);

impl Timer {
    fn set(&mut self, vif: &Vif, next: Next) {
        match (next, &self.0) {
            (Next::Wait(time), Some((set, _))) if *set == time => {}
            (Next::Wait(time), _) => self.0 = Some((time, vif.host.sleep_until(time))),
            _ => self.0 = None,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        let Some((_, sleep)) = &mut self.0 else {
            return false;
        };
        let done = Pin::new(sleep).poll(context).is_ready();
        if done {
            self.0 = None;
        }
        done
    }
}
