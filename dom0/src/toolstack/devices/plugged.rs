//! A device that is plugged in, and the life of its backends.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::cell::{Cell, RefCell};

use backends::host::{Host, MacAddress};
use backends::signal::Signal;
use backends::xenbus::{Control, Device, End, Wish};
use guest_abi::DomId;

use super::{Kind, Resource, What};
use crate::config::{DiskSpec, VifSpec};
use crate::executor::JoinHandle;

/// A disk or a network of a guest.
#[derive(Debug)]
pub struct Plugged {
    what: What,
    /// The hold on the backend that runs.
    control: RefCell<Control>,
    /// How many backends have been started.
    instances: Cell<u64>,
    /// It is to be closed together with its frontend.
    closing: Cell<bool>,
    /// Nobody follows the backend that runs.
    last: Cell<bool>,
    over: Cell<bool>,
    changed: Signal,
    pub(super) task: RefCell<Option<JoinHandle<()>>>,
}

impl Plugged {
    pub(super) fn new(what: What) -> Self {
        Self {
            what,
            control: RefCell::default(),
            instances: Cell::new(0),
            closing: Cell::new(false),
            last: Cell::new(false),
            over: Cell::new(false),
            changed: Signal::default(),
            task: RefCell::default(),
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.what.kind()
    }

    /// Its number among its domain's devices of its kind.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.what.id()
    }

    /// As a user knows it: `disk xvda`, `vif 0`.
    #[must_use]
    pub fn title(&self) -> String {
        self.what.to_string()
    }

    /// How it was specified, if it is a disk.
    #[must_use]
    pub fn disk(&self) -> Option<&DiskSpec> {
        match &self.what {
            What::Vbd(spec) => Some(spec),
            What::Vif { .. } => None,
        }
    }

    /// How it was specified, if it is a network, with the address it has.
    #[must_use]
    pub fn vif(&self) -> Option<(&VifSpec, MacAddress)> {
        match &self.what {
            What::Vif { spec, mac, .. } => Some((spec, *mac)),
            What::Vbd(_) => None,
        }
    }

    /// Serves the frontend, with one backend after the other, until there is to be no other one.
    pub(super) async fn serve(&self, host: &Rc<dyn Host>, domain: DomId, resource: &Resource) {
        while !self.last.get() {
            let control = Control::default();
            if self.closing.get() {
                control.wish(Wish::Detach);
            }
            self.control.replace(control.clone());
            self.instances.set(self.instances.get() + 1);
            self.changed.notify();
            let device = Device::open(host.clone(), self.kind().name(), domain, self.id());
            let served = match device {
                Ok(device) => resource.serve(&device, &control).await,
                Err(error) => Err(error),
            };
            match served {
                Ok(End::HandedOver) => {}
                Ok(End::Closed) => return,
                Err(error) => {
                    let title = self.title();
                    log::warn!("domain {domain}: {title}: its nodes can't be used: {error}");
                    return;
                }
            }
        }
    }

    /// Asks both ends to close.
    pub(super) fn ask_to_close(&self) {
        self.closing.set(true);
        self.control.borrow().wish(Wish::Detach);
    }

    /// Lets the backend finish what it has begun and end, without a word to the frontend.
    pub(super) fn leave(&self) {
        self.last.set(true);
        self.control.borrow().wish(Wish::HandOver);
    }

    /// Puts another backend into the place of the one that runs, and answers its number.
    pub(super) fn replace(&self) -> u64 {
        self.control.borrow().wish(Wish::HandOver);
        self.instances.get() + 1
    }

    /// Waits until the backend of this number has begun. `false` when the device has gone instead.
    pub(super) async fn started(&self, instance: u64) -> bool {
        self.wait_until(|| self.over.get() || self.instances.get() >= instance)
            .await;
        !self.over.get()
    }

    /// Nothing serves it any more.
    pub(super) fn set_over(&self) {
        self.over.set(true);
        self.changed.notify();
    }

    /// Waits until nothing serves it any more.
    pub(super) async fn gone(&self) {
        self.wait_until(|| self.over.get()).await;
    }

    async fn wait_until(&self, done: impl Fn() -> bool) {
        loop {
            let seen = self.changed.count();
            if done() {
                return;
            }
            self.changed.after(seen).await;
        }
    }
}
