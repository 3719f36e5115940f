//! Taking a domain away, whatever state it is in.

use alloc::rc::Rc;

use guest_abi::{DomId, Errno};

use super::{Guest, Phase, Toolstack, nodes};
use crate::hypervisor::destroy;

impl Toolstack {
    /// Destroys a domain. It goes on being destroyed when the caller stops waiting.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub async fn destroy(self: &Rc<Self>, domain: DomId) -> Result<(), Errno> {
        if domain == DomId::DOM0 {
            return Err(Errno::EPERM);
        }
        let toolstack = self.clone();
        let task = self.runtime.spawn(async move {
            match toolstack.guest(domain) {
                Some(guest) => {
                    toolstack.remove(&guest).await;
                    Ok(())
                }
                None => destroy(&*toolstack.hypervisor, &toolstack.runtime, domain).await,
            }
        });
        task.join().await.unwrap_or(Err(Errno::EINTR))
    }

    /// Takes a guest away with all that serves it. Whoever asks second only waits.
    pub(super) async fn remove(self: &Rc<Self>, guest: &Rc<Guest>) {
        if guest.phase.get() == Phase::Gone {
            self.wait_until(|| self.guest(guest.domain).is_none()).await;
            return;
        }
        guest.phase.set(Phase::Gone);
        // Still, so that it doesn't see its services go; it may be gone already.
        let _ = self.hypervisor.pause(guest.domain);
        self.detach_all(guest).await;
        self.disconnect(guest);
        self.destroy_bare(guest.domain).await;
        self.guests.borrow_mut().remove(&guest.domain);
        self.changed.notify();
    }

    /// Ends what serves a guest: nothing of dom0 refers to the domain afterwards.
    pub(super) fn disconnect(&self, guest: &Guest) {
        guest.console.borrow_mut().end();
        guest.printed.notify();
        guest.store_ring.borrow_mut().take();
        for service in guest.services.borrow_mut().drain(..) {
            service.abort();
        }
        self.hypervisor.close(guest.store_port);
        self.hypervisor.close(guest.console_port);
        let mut store = self.store().borrow_mut();
        nodes::remove(&mut store, guest);
        if let Err(error) = store.release(guest.domain) {
            log::warn!(
                "xenstore: domain {} could not be released: {error}",
                guest.domain
            );
        }
    }
}
