//! Event channels as something a task can wait for.
//!
//! The table keeps one bit and one waker per port listened to. The bit stays
//! set until somebody takes it, so an event between two waits is never lost;
//! several events between two waits are one.

use alloc::vec::Vec;
use core::{
    fmt,
    task::{Context, Poll, Waker},
};

use guest_abi::Port;

use super::Runtime;

#[derive(Default)]
struct Listener {
    fired: bool,
    waker: Option<Waker>,
}

/// Every port that is listened to, by its number: those of a domain are few and small.
#[derive(Default)]
pub(super) struct Ports {
    table: Vec<Option<Listener>>,
}

impl Ports {
    /// Notes an event; answers whom to wake.
    pub(super) fn fired(&mut self, port: Port) -> Option<Waker> {
        let listener = self.listener(port)?;
        listener.fired = true;
        listener.waker.take()
    }

    fn listener(&mut self, port: Port) -> Option<&mut Listener> {
        self.table.get_mut(port.get() as usize)?.as_mut()
    }

    fn insert(&mut self, port: Port) {
        let index = port.get() as usize;
        if index >= self.table.len() {
            self.table.resize_with(index + 1, || None);
        }
        if let Some(place) = self.table.get_mut(index) {
            *place = Some(Listener::default());
        }
    }

    fn remove(&mut self, port: Port) {
        if let Some(place) = self.table.get_mut(port.get() as usize) {
            *place = None;
        }
    }
}

/// One event channel, listened to until this is dropped.
pub struct EventPort {
    runtime: Runtime,
    port: Port,
}

impl fmt::Debug for EventPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventPort")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl EventPort {
    pub(super) fn new(runtime: &Runtime, port: Port) -> Self {
        runtime.inner.ports.borrow_mut().insert(port);
        Self {
            runtime: runtime.clone(),
            port,
        }
    }

    /// The port's number.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Waits for the next event; returns at once for one not yet taken.
    pub async fn wait(&self) {
        core::future::poll_fn(|cx| self.poll_event(cx)).await;
    }

    /// Ready once an event has come that was not yet taken.
    pub fn poll_event(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ports = self.runtime.inner.ports.borrow_mut();
        let Some(listener) = ports.listener(self.port) else {
            return Poll::Pending;
        };
        if core::mem::take(&mut listener.fired) {
            return Poll::Ready(());
        }
        match &mut listener.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for EventPort {
    fn drop(&mut self) {
        self.runtime.inner.ports.borrow_mut().remove(self.port);
    }
}
