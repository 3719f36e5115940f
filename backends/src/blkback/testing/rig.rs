//! A backend between a fake guest and a fake disk.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;

use guest_abi::DomId;
use guest_abi::io::blkif::{BlkStatus, Response};
use guest_abi::io::xenbus::XenbusState;

use super::{FakeFront, HeldDisk, RawSlot, Setup};
use crate::blkback::{Blkback, Options};
use crate::host::Host;
use crate::host::fake::{FakeDisk, FakeHost};
use crate::testing::Task;
use crate::xenbus::{Control, Device, End, Wish, run};
use crate::xenstore::Error;

/// The domain whose disk it is.
const DOMAIN: DomId = DomId::new(3);
/// xvda.
const ID: u32 = 51712;

/// A backend at work.
#[derive(Debug)]
pub struct Rig {
    /// dom0.
    pub host: Rc<FakeHost>,
    /// The guest.
    pub front: FakeFront,
    /// The disk.
    pub disk: HeldDisk,
    /// The backend.
    pub blkback: Rc<Blkback>,
    /// The toolstack's hold on it.
    pub control: Control,
    options: Options,
    task: Task<Result<End, Error>>,
}

impl Rig {
    /// A disk of 2,048 sectors and a guest that has not connected.
    #[must_use]
    pub fn new() -> Self {
        Self::with(FakeDisk::new(2048), Options::default())
    }

    /// The same with a connected guest.
    #[must_use]
    pub fn connected(setup: Setup) -> Self {
        let mut rig = Self::new();
        rig.connect(setup);
        rig
    }

    /// A guest that has not connected, before any disk.
    #[must_use]
    pub fn with(disk: FakeDisk, options: Options) -> Self {
        let host = FakeHost::new();
        let front = FakeFront::new(&host, DOMAIN, ID);
        let disk = HeldDisk::new(disk);
        let (control, blkback, task) = start(&host, &disk, options);
        let mut rig = Self {
            host,
            front,
            disk,
            blkback,
            control,
            options,
            task,
        };
        rig.run();
        rig
    }

    /// Lets the backend work until it rests. How it ended, if it did.
    pub fn run(&mut self) -> Option<Result<End, Error>> {
        self.task.run()
    }

    /// Connects the guest as Linux does.
    ///
    /// # Panics
    ///
    /// When the backend does not.
    pub fn connect(&mut self, setup: Setup) {
        self.front.connect(setup);
        self.run();
        assert_eq!(self.state(), XenbusState::Connected, "{:?}", self.error());
        self.front.state(XenbusState::Connected);
        self.run();
    }

    /// Ends this backend by handing over, and starts another one in its place.
    ///
    /// # Panics
    ///
    /// When it does not let go.
    pub fn restart(&mut self) {
        self.control.wish(Wish::HandOver);
        assert_eq!(self.run(), Some(Ok(End::HandedOver)));
        assert_eq!(self.host.mapped(), 0);
        self.take_over();
    }

    /// Starts another backend where one has ended.
    pub fn take_over(&mut self) {
        let started = start(&self.host, &self.disk, self.options);
        (self.control, self.blkback, self.task) = started;
        self.run();
    }

    /// Whether the backend has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.task.is_running()
    }

    /// A node of the backend.
    #[must_use]
    pub fn back(&self, key: &str) -> Option<String> {
        let path = Device::back_path("vbd", DOMAIN, ID);
        let mut store = self.host.store().borrow_mut();
        store.get(&format!("{path}/{key}"))
    }

    /// The backend's state.
    #[must_use]
    pub fn state(&self) -> XenbusState {
        XenbusState::parse(self.back("state").unwrap_or_default().as_bytes())
    }

    /// Why the guest was disconnected.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.back("error").filter(|error| !error.is_empty())
    }

    /// Asks for one thing on the first ring and lets the backend work.
    pub fn ask(&mut self, request: &RawSlot) {
        self.front.push(0, request);
        self.front.publish(0);
        self.run();
    }

    /// The same; the answer, of which there must be one.
    ///
    /// # Panics
    ///
    /// When there are none or several.
    pub fn answer(&mut self, request: &RawSlot) -> Response {
        self.ask(request);
        let responses = self.front.responses(0);
        assert_eq!(responses.len(), 1, "{responses:?}");
        responses[0]
    }

    /// The same; how it went.
    ///
    /// # Panics
    ///
    /// When the status means nothing.
    pub fn status(&mut self, request: &RawSlot) -> BlkStatus {
        BlkStatus::from_number(self.answer(request).status).expect("a status")
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

type Running = (Control, Rc<Blkback>, Task<Result<End, Error>>);

fn start(host: &Rc<FakeHost>, disk: &HeldDisk, options: Options) -> Running {
    let blkback = Rc::new(Blkback::new(Rc::new(disk.clone()), options));
    let control = Control::default();
    let (host, backend, held) = (host.clone(), blkback.clone(), control.clone());
    let task = Task::new(async move {
        let device = Device::open(host, "vbd", DOMAIN, ID)?;
        run(&device, &*backend, &held).await
    });
    (control, blkback, task)
}
