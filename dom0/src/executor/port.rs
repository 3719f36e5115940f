//! Event channels as something a task can wait for.
//!
//! The table keeps one bit and one waker per port listened to. The bit stays
//! set until somebody takes it, so an event between two waits is never lost;
//! several events between two waits are one.

use alloc::collections::BTreeMap;
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

/// Every port that is listened to.
#[derive(Default)]
pub(super) struct Ports {
    table: BTreeMap<Port, Listener>,
}

impl Ports {
    /// Notes an event; answers whom to wake.
    pub(super) fn fired(&mut self, port: Port) -> Option<Waker> {
        let listener = self.table.get_mut(&port)?;
        listener.fired = true;
        listener.waker.take()
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
        runtime
            .inner
            .ports
            .borrow_mut()
            .table
            .insert(port, Listener::default());
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
        let Some(listener) = ports.table.get_mut(&self.port) else {
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
        self.runtime
            .inner
            .ports
            .borrow_mut()
            .table
            .remove(&self.port);
    }
}
