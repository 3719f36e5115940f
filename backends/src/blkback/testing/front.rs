//! A frontend that does what it is told, right or wrong.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;
use core::mem::{offset_of, size_of};

use guest_abi::ids::GrantRef;
use guest_abi::io::blkif::{Response, SLOT_SIZE};
use guest_abi::io::ring::{Published, RingHeader, SLOTS_OFFSET, nr_slots};
use guest_abi::io::xenbus::XenbusState;
use guest_abi::zerocopy::FromBytes;
use guest_abi::{DomId, PAGE_SIZE, Port};

use super::RawSlot;
use crate::host::fake::{FakeChannel, FakeHost, FakePage};
use crate::host::{Access, Host, SharedPage};
use crate::xenbus::Device;

/// How a frontend connects.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Rings.
    pub queues: u32,
    /// Pages of each, as a power of two.
    pub order: u32,
    /// It uses its grants again and again.
    pub persistent: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            queues: 1,
            order: 0,
            persistent: true,
        }
    }
}

/// One of its rings.
#[derive(Debug)]
struct Ring {
    pages: Vec<FakePage>,
    req_prod: u32,
    published: u32,
    rsp_cons: u32,
    channel: FakeChannel,
}

impl Ring {
    fn slot(&self, index: u32) -> usize {
        let slots = nr_slots(self.pages.len() * PAGE_SIZE, SLOT_SIZE);
        SLOTS_OFFSET + usize::try_from(index % slots).unwrap_or(0) * SLOT_SIZE
    }
}

/// A frontend.
#[derive(Debug)]
pub struct FakeFront {
    host: Rc<FakeHost>,
    domain: DomId,
    path: String,
    rings: Vec<Ring>,
    next_grant: u32,
    /// How often it told the backend something.
    pub sent: u32,
}

impl FakeFront {
    /// A disk that the toolstack has just made for a domain.
    ///
    /// # Panics
    ///
    /// When the store refuses its nodes.
    #[must_use]
    pub fn new(host: &Rc<FakeHost>, domain: DomId, id: u32) -> Self {
        let front = Self {
            host: host.clone(),
            domain,
            path: Device::front_path("vbd", domain, id),
            rings: Vec::new(),
            next_grant: GrantRef::NR_RESERVED,
            sent: 0,
        };
        let back = Device::back_path("vbd", domain, id);
        let mut store = host.store().borrow_mut();
        store.put(&format!("{back}/state"), 1).expect("nodes");
        drop(store);
        front.state(XenbusState::Initialising);
        front
    }

    /// Writes one of its nodes.
    ///
    /// # Panics
    ///
    /// When the store refuses.
    pub fn set(&self, key: &str, value: impl Display) {
        let mut store = self.host.store().borrow_mut();
        let path = format!("{}/{key}", self.path);
        store.put(&path, value).expect("a node");
    }

    /// Goes to a state.
    pub fn state(&self, state: XenbusState) {
        self.set("state", state.digit());
    }

    /// Makes rings and tells the backend of them; goes to Initialised.
    pub fn connect(&mut self, setup: Setup) {
        self.make_rings(setup);
        self.state(XenbusState::Initialised);
    }

    /// Makes rings and writes their nodes.
    pub fn make_rings(&mut self, setup: Setup) {
        self.rings.clear();
        self.set("protocol", "x86_64-abi");
        self.set("feature-persistent", u8::from(setup.persistent));
        self.set("multi-queue-num-queues", setup.queues);
        self.set("ring-page-order", setup.order);
        for queue in 0..setup.queues {
            let folder = match setup.queues {
                1 => String::new(),
                _ => format!("queue-{queue}/"),
            };
            self.make_ring(&folder, queue, setup.order);
        }
    }

    fn make_ring(&mut self, folder: &str, queue: u32, order: u32) {
        let mut pages = Vec::new();
        for number in 0..1_u32 << order {
            let (grant, page) = self.grant();
            match order {
                0 => self.set(&format!("{folder}ring-ref"), grant),
                _ => self.set(&format!("{folder}ring-ref{number}"), grant),
            }
            pages.push(page);
        }
        for event in [
            offset_of!(RingHeader, req_event),
            offset_of!(RingHeader, rsp_event),
        ] {
            pages[0].store_u32(event, 1);
        }
        let port = 100 + queue;
        let channel = self.host.open_port(self.domain, Port::new(port));
        self.set(&format!("{folder}event-channel"), port);
        self.rings.push(Ring {
            pages,
            req_prod: 0,
            published: 0,
            rsp_cons: 0,
            channel,
        });
    }

    /// Grants a page to the backend, for both directions.
    pub fn grant(&mut self) -> (GrantRef, FakePage) {
        self.grant_for(Access::ReadWrite)
    }

    /// Grants a page to the backend.
    pub fn grant_for(&mut self, access: Access) -> (GrantRef, FakePage) {
        let (grant, page) = (GrantRef::new(self.next_grant), FakePage::new());
        self.next_grant += 1;
        self.host.grant(self.domain, grant, &page, access);
        (grant, page)
    }

    /// Takes a grant back.
    pub fn revoke(&self, grant: GrantRef) {
        self.host.revoke(self.domain, grant);
    }

    /// Writes a request into the next slot of a ring, published or not.
    pub fn push(&mut self, queue: usize, request: &RawSlot) {
        let index = self.rings[queue].req_prod;
        self.rings[queue].req_prod = index.wrapping_add(1);
        self.overwrite(queue, index, request);
    }

    /// Writes over slot number `index` of a ring.
    pub fn overwrite(&mut self, queue: usize, index: u32, request: &RawSlot) {
        let ring = &self.rings[queue];
        let at = ring.slot(index);
        for (byte, value) in request.iter().enumerate() {
            let at = at + byte;
            ring.pages[at / PAGE_SIZE].copy_to(at % PAGE_SIZE, &[*value]);
        }
    }

    /// Publishes what was pushed, and calls the backend if it wants to be called.
    pub fn publish(&mut self, queue: usize) {
        let ring = &mut self.rings[queue];
        let (old, new) = (ring.published, ring.req_prod);
        ring.published = new;
        let header = &ring.pages[0];
        header.store_u32(offset_of!(RingHeader, req_prod), new);
        let event = header.load_u32(offset_of!(RingHeader, req_event));
        if (Published { old, new }).should_notify(event) {
            self.sent += 1;
            ring.channel.send();
        }
    }

    /// Claims any producer's index at all, and calls the backend.
    pub fn jump(&mut self, queue: usize, req_prod: u32) {
        let ring = &mut self.rings[queue];
        ring.pages[0].store_u32(offset_of!(RingHeader, req_prod), req_prod);
        ring.channel.send();
    }

    /// Writes a word of the first page of a ring: one of the indices, say.
    pub fn poke(&self, queue: usize, offset: usize, value: u32) {
        self.rings[queue].pages[0].store_u32(offset, value);
    }

    /// How many requests fit before responses must be read.
    #[must_use]
    pub fn room(&self, queue: usize) -> u32 {
        let ring = &self.rings[queue];
        let slots = nr_slots(ring.pages.len() * PAGE_SIZE, SLOT_SIZE);
        slots - ring.req_prod.wrapping_sub(ring.rsp_cons)
    }

    /// Takes the responses that are there, and asks to be told of the next.
    ///
    /// # Panics
    ///
    /// When there are more than were asked for.
    pub fn responses(&mut self, queue: usize) -> Vec<Response> {
        let ring = &mut self.rings[queue];
        let produced = ring.pages[0].load_u32(offset_of!(RingHeader, rsp_prod));
        let open = ring.req_prod.wrapping_sub(ring.rsp_cons);
        let answered = produced.wrapping_sub(ring.rsp_cons);
        assert!(answered <= open, "{answered} answers to {open} questions");
        let mut responses = Vec::new();
        while ring.rsp_cons != produced {
            let at = ring.slot(ring.rsp_cons);
            let mut bytes = [0; size_of::<Response>()];
            for (byte, value) in bytes.iter_mut().enumerate() {
                let at = at + byte;
                let mut one = [0];
                ring.pages[at / PAGE_SIZE].copy_from(at % PAGE_SIZE, &mut one);
                *value = one[0];
            }
            responses.push(Response::read_from_bytes(&bytes).expect("the size of a response"));
            ring.rsp_cons = ring.rsp_cons.wrapping_add(1);
        }
        let event = ring.rsp_cons.wrapping_add(1);
        ring.pages[0].store_u32(offset_of!(RingHeader, rsp_event), event);
        responses
    }

    /// The channel of a ring.
    #[must_use]
    pub fn channel(&self, queue: usize) -> &FakeChannel {
        &self.rings[queue].channel
    }
}
