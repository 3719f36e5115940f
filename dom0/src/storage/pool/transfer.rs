//! Requests on their way to where the data lies.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::future::Future;
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll};

use backends::host::{DiskError, DiskFuture, DiskRequest, Piece};

use super::Pool;
use super::layer::{Layer, Plan, Segment, Source};
use crate::executor::Runtime;
use crate::storage::block::{Splitter, clear};

impl Pool {
    /// Reads sectors of a layer.
    pub(super) fn read(
        &self,
        layer: &Rc<Layer>,
        range: Range<u64>,
        pieces: Vec<Piece>,
    ) -> DiskFuture {
        let plan = layer.plan_read(range);
        let make = |sector, pieces| DiskRequest::Read { sector, pieces };
        let future = self.submit(&plan, layer, pieces, &make);
        if plan.0.iter().all(|part| part.source != Source::Pool) {
            return future;
        }
        // Until the device is done, the chunks belong to nobody else.
        self.guard(future, self.space.borrow().epoch())
    }

    /// Writes sectors to where a plan says.
    pub(super) fn write(
        &self,
        plan: &Plan,
        layer: &Rc<Layer>,
        pieces: Vec<Piece>,
        durable: bool,
    ) -> DiskFuture {
        let make = |sector, pieces| DiskRequest::Write {
            sector,
            pieces,
            durable,
        };
        self.submit(plan, layer, pieces, &make)
    }

    /// Lets a request keep something until the device is done with it.
    pub(super) fn guard<G: Unpin + 'static>(&self, future: DiskFuture, guard: G) -> DiskFuture {
        Box::pin(Guarded {
            future: Some(future),
            guard: Some(guard),
            begun: false,
            runtime: self.runtime.clone(),
        })
    }

    /// A request for each segment of a plan.
    fn submit(
        &self,
        plan: &Plan,
        layer: &Rc<Layer>,
        pieces: Vec<Piece>,
        make: &dyn Fn(u64, Vec<Piece>) -> DiskRequest,
    ) -> DiskFuture {
        if let [segment] = plan.0.as_slice() {
            return self.submit_segment(*segment, layer, pieces, make);
        }
        let mut pieces = Splitter::new(pieces);
        let parts = plan.0.iter().map(|segment| {
            let pieces = pieces.take(segment.sectors);
            self.submit_segment(*segment, layer, pieces, make)
        });
        let parts: Vec<DiskFuture> = parts.collect();
        Box::pin(async move {
            let results = futures_util::future::join_all(parts).await;
            results.into_iter().collect()
        })
    }

    fn submit_segment(
        &self,
        segment: Segment,
        layer: &Rc<Layer>,
        pieces: Vec<Piece>,
        make: &dyn Fn(u64, Vec<Piece>) -> DiskRequest,
    ) -> DiskFuture {
        match segment.source {
            Source::Pool => self.device().submit(make(segment.sector, pieces)),
            Source::Zeros => {
                pieces.iter().for_each(clear);
                Box::pin(core::future::ready(Ok(())))
            }
            Source::Base => match layer.image() {
                Some(image) => image.submit(make(segment.sector, pieces)),
                None => Box::pin(core::future::ready(Err(DiskError::Io))),
            },
        }
    }

    /// Tells the device, and the image below a layer, about all that was submitted.
    pub(super) fn kick(&self, layer: &Rc<Layer>) {
        self.device().kick();
        if let Some(image) = layer.image() {
            image.kick();
        }
    }

    /// Sees a request through that was submitted here.
    pub(super) async fn complete(
        &self,
        layer: &Rc<Layer>,
        future: DiskFuture,
    ) -> Result<(), DiskError> {
        self.kick(layer);
        future.await
    }
}

/// A request that keeps something until the device is done with it, even when nobody waits.
struct Guarded<G: Unpin + 'static> {
    future: Option<DiskFuture>,
    guard: Option<G>,
    begun: bool,
    runtime: Runtime,
}

impl<G: Unpin + 'static> Future for Guarded<G> {
    type Output = Result<(), DiskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.begun = true;
        let Some(future) = &mut self.future else {
            return Poll::Ready(Err(DiskError::Io));
        };
        let result = core::task::ready!(future.as_mut().poll(context));
        self.future = None;
        self.guard = None;
        Poll::Ready(result)
    }
}

impl<G: Unpin + 'static> Drop for Guarded<G> {
    fn drop(&mut self) {
        let (Some(future), guard, true) = (self.future.take(), self.guard.take(), self.begun)
        else {
            return;
        };
        self.runtime.spawn(async move {
            // Nobody is left who could be told.
            let _ = future.await;
            drop(guard);
        });
    }
}
