//! What runs for each domain: its store connection and its console, a task each.
//!
//! A task sleeps until its event channel fires or somebody in dom0 has something for the guest.
//! The rings belong to the [`Guest`], so that ending a domain can take them away at once.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::fmt;
use core::pin::pin;
use core::task::Poll;

use backends::host::SharedPage;
use backends::xenstore::ClientId;
use futures_util::future::select;

use super::{Guest, Toolstack};
use crate::executor::EventPort;
use crate::hypervisor::ForeignMemory;

/// Rounds a ring may go before other tasks have their turn.
const BUDGET: usize = 16;

/// A mapped ring page of a guest.
pub(super) struct RingPage(pub(super) Box<dyn ForeignMemory>);

impl fmt::Debug for RingPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingPage")
    }
}

impl SharedPage for RingPage {
    fn load_u32(&self, offset: usize) -> u32 {
        self.0.load_u32(offset)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.0.store_u32(offset, value);
    }

    fn copy_from(&self, offset: usize, into: &mut [u8]) {
        self.0.read(offset, into);
    }

    fn copy_to(&self, offset: usize, from: &[u8]) {
        self.0.write(offset, from);
    }
}

impl Toolstack {
    /// Starts what serves a guest.
    pub(super) fn serve(self: &Rc<Self>, guest: &Rc<Guest>, client: ClientId) {
        let store_port = self.runtime.listen(guest.store_port);
        let console_port = self.runtime.listen(guest.console_port);
        let (toolstack, served) = (self.clone(), guest.clone());
        let store = self.runtime.spawn(async move {
            toolstack.serve_store(&served, client, &store_port).await;
        });
        let (toolstack, served) = (self.clone(), guest.clone());
        let console = self.runtime.spawn(async move {
            toolstack.serve_console(&served, &console_port).await;
        });
        guest.services.borrow_mut().extend([store, console]);
    }

    async fn serve_store(&self, guest: &Guest, client: ClientId, port: &EventPort) {
        loop {
            let outcome = {
                let mut ring = guest.store_ring.borrow_mut();
                let Some(ring) = ring.as_mut() else { return };
                let mut store = self.store().borrow_mut();
                ring.run(&mut store, BUDGET)
                    .and_then(|notify| Ok((notify, ring.wants_to_run(&store)?)))
            };
            match outcome {
                Ok((notify, more)) => {
                    if notify {
                        self.hypervisor.notify(port.port());
                    }
                    if more {
                        self.runtime.yield_now().await;
                    } else {
                        select(pin!(port.wait()), pin!(self.store_event(client))).await;
                    }
                }
                Err(error) => {
                    log::warn!(
                        "domain {}: xenstore connection closed: it {error}",
                        guest.domain
                    );
                    self.store().borrow_mut().remove_client(client);
                    guest.store_ring.borrow_mut().take();
                    return;
                }
            }
        }
    }

    /// Waits for the next event for a client that has just been found to have none to send.
    async fn store_event(&self, client: ClientId) {
        let mut waiting = false;
        core::future::poll_fn(|context| {
            if core::mem::replace(&mut waiting, true) {
                return Poll::Ready(());
            }
            self.store()
                .borrow_mut()
                .wake_on_event(client, context.waker());
            Poll::Pending
        })
        .await;
    }

    async fn serve_console(&self, guest: &Guest, port: &EventPort) {
        loop {
            let typed = guest.typed.count();
            let progress = self.run_console(guest);
            if guest.console.borrow().closed().is_some() {
                return;
            }
            if progress {
                self.runtime.yield_now().await;
            } else {
                select(pin!(port.wait()), pin!(guest.typed.after(typed))).await;
            }
        }
    }

    /// Moves what a console's ring holds; says whether there may be more.
    pub(super) fn run_console(&self, guest: &Guest) -> bool {
        let progress = guest.console.borrow_mut().run();
        if progress.notify {
            self.hypervisor.notify(guest.console_port);
        }
        if progress.printed {
            guest.printed.notify();
        }
        progress.printed
    }
}
