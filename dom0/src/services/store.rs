//! The xenstore server at work: the store, and a task for each domain's ring.

use alloc::rc::Rc;
use core::{cell::RefCell, fmt, future::Future, pin::pin, task::Poll};

use backends::xenstore::{Error, Introduction, Store, StoreRing};
use guest_abi::{DomId, Mfn, Port};

use super::link::{Channel, RingPage};
use crate::{executor::Runtime, hypervisor::Hypervisor};

/// Rounds of a ring before other tasks run.
const BUDGET: usize = 8;

/// The store of this host.
pub struct StoreService {
    runtime: Runtime,
    hypervisor: Rc<dyn Hypervisor>,
    store: RefCell<Store>,
}

impl fmt::Debug for StoreService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreService")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl StoreService {
    /// An empty store.
    #[must_use]
    pub fn start(runtime: &Runtime, hypervisor: Rc<dyn Hypervisor>) -> Rc<Self> {
        Rc::new(Self {
            runtime: runtime.clone(),
            hypervisor,
            store: RefCell::default(),
        })
    }

    /// Lets `use_store` read and change the store. Domains that it introduces
    /// are connected afterwards.
    ///
    /// Do not call this from within `use_store`.
    pub fn with<T>(self: &Rc<Self>, use_store: impl FnOnce(&mut Store) -> T) -> T {
        let value = use_store(&mut self.store.borrow_mut());
        self.connect_introduced();
        value
    }

    /// Connects a domain: its ring's frame, and its end of the event channel.
    ///
    /// # Errors
    ///
    /// If another ring of the domain is connected.
    pub fn introduce(self: &Rc<Self>, domain: DomId, frame: Mfn, port: Port) -> Result<(), Error> {
        self.with(|store| store.introduce(domain, frame.get(), port.get()).map(drop))
    }

    /// Disconnects a domain that is gone, and removes what was its own.
    ///
    /// # Errors
    ///
    /// If the domain was never connected.
    pub fn release(self: &Rc<Self>, domain: DomId) -> Result<(), Error> {
        self.with(|store| store.release(domain))
    }

    fn connect_introduced(self: &Rc<Self>) {
        loop {
            let introduction = self.store.borrow_mut().next_introduction();
            let Some(introduction) = introduction else {
                return;
            };
            let Introduction {
                domain,
                frame,
                port,
                ..
            } = introduction;
            let (frame, port) = (Mfn::new(frame), Port::new(port));
            match Channel::open(&self.hypervisor, &self.runtime, domain, frame, port) {
                Ok((page, channel)) => {
                    let ring = StoreRing::new(page, introduction.client);
                    self.runtime
                        .spawn(serve(self.clone(), ring, channel, domain));
                }
                Err(errno) => {
                    log::warn!("xenstore: domain {domain} has no ring: {}", errno.name());
                }
            }
        }
    }
}

/// Serves one ring until its domain is released or breaks it.
async fn serve(
    service: Rc<StoreService>,
    mut ring: StoreRing<RingPage>,
    channel: Channel,
    domain: DomId,
) {
    while service.store.borrow().has_client(ring.client()) {
        let moved = service.with(|store| {
            let notify = ring.run(store, BUDGET)?;
            Ok((notify, ring.wants_to_run(store)?))
        });
        match moved {
            Ok((notify, more)) => {
                if notify {
                    channel.notify();
                }
                if more {
                    service.runtime.yield_now().await;
                } else {
                    wait(&service, &ring, &channel).await;
                }
            }
            Err(error) => {
                let error: backends::xenstore::RingError = error;
                log::warn!("xenstore: domain {domain} is cut off: {error}");
                return;
            }
        }
    }
}

/// Waits until the domain moves its ring, an event is to be told, or it is gone.
async fn wait(service: &StoreService, ring: &StoreRing<RingPage>, channel: &Channel) {
    let mut moved = pin!(channel.events().wait());
    core::future::poll_fn(|context| {
        let mut store = service.store.borrow_mut();
        // A ring found broken is for the next `run` to report.
        if !store.has_client(ring.client()) || ring.wants_to_run(&store) != Ok(false) {
            return Poll::Ready(());
        }
        store.wake_on_event(ring.client(), context.waker());
        moved.as_mut().poll(context)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        executor::tests::FakePlatform, hypervisor::fake::FakeHypervisor,
        services::tests::guest_page,
    };
    use guest_abi::{
        io::xs_wire::{MessageHeader, MessageType},
        zerocopy::{FromBytes, IntoBytes},
    };

    #[test]
    fn a_domain_is_answered_over_its_ring_until_it_is_released() {
        let runtime = Runtime::new(FakePlatform::default());
        let hypervisor = FakeHypervisor::new(64);
        let service = StoreService::start(&runtime, Rc::new(hypervisor.clone()));
        let (domain, frame, page) = guest_page(&hypervisor);
        let before = hypervisor.books();

        let header = MessageHeader {
            kind: MessageType::GetDomainPath.number(),
            req_id: 7,
            tx_id: 0,
            len: 2,
        };
        page.write(0, header.as_bytes());
        page.write(16, b"1\0");
        page.store_u32(2052, 18);
        service.introduce(domain, frame, Port::new(1)).unwrap();

        let handle = runtime.clone();
        runtime.block_on(async move {
            handle.yield_now().await;
            let mut answer = [0; 35];
            page.read(1024, &mut answer);
            let (header, path) = MessageHeader::read_from_prefix(&answer).unwrap();
            assert_eq!((header.kind, header.req_id), (10, 7));
            assert_eq!(path, b"/local/domain/1\0\0\0\0");
            service.release(domain).unwrap();
            handle.yield_now().await;
        });
        assert_eq!(hypervisor.books(), before);
    }
}
