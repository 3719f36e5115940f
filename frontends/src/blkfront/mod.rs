//! A disk: the frontend of a paravirtual block device.
//!
//! [`Blkfront`] sends [`Request`]s whose memory is pages lent to the backend ([`Grant`]). A request
//! owns its pages while it is in flight and gives them back with its [`Completion`]. Pages stay lent
//! from one request to the next, so that a backend with persistent grants maps them only once.
//!
//! ```text
//! page() -> fill -> submit(request) -> id ... kick()
//! wait() -> complete() -> Completion { id, request, result } -> recycle(request)
//! ```
//!
//! `submit` only writes to the ring; [`Blkfront::kick`] shows the backend what was submitted, so that
//! many requests cost one event. [`read`](Blkfront::read), [`write`](Blkfront::write),
//! [`flush`](Blkfront::flush) and [`discard`](Blkfront::discard) do all of it and wait.
//!
//! When the toolstack unplugs the disk, or a new backend takes over, [`Blkfront::life`] says so:
//! then call [`close`](Blkfront::close), or [`reconnect`](Blkfront::reconnect), which sends again
//! whatever was in flight. Nothing a backend writes is believed before it is checked; one that breaks
//! the protocol gets [`DeviceError::Broken`], after which the disk is only good for closing.

mod connect;
mod encode;
mod geometry;
mod queue;
mod request;
mod sync;

use alloc::{collections::VecDeque, vec::Vec};

use guest_abi::{DomId, Errno, Port};

pub use geometry::{Features, Geometry, Options};
pub use request::{Failure, Invalid, Operation, Request, SECTORS_PER_PAGE, Segment};
pub use sync::DiskError;

use crate::{
    grants::{Grant, GrantTable},
    ring::FrontRing,
    xenbus::{Device, DeviceError, Life, Store},
};
use connect::{Lane, Terms};

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The ring it is on.
    pub queue: u16,
    /// Its place there.
    pub place: u16,
}

/// A request that has ended.
#[derive(Debug)]
pub struct Completion {
    /// What [`Blkfront::submit`] called it.
    pub id: RequestId,
    /// The request, with its pages.
    pub request: Request,
    /// How it ended.
    pub result: Result<(), Failure>,
}

/// Why a request was not taken. It comes back.
#[derive(Debug)]
pub enum SubmitError {
    /// The ring is full, or there is no page for the segments: wait for a completion.
    Busy(Request),
    /// It makes no sense for this disk.
    Invalid(Request, Invalid),
}

/// A connected disk.
#[derive(Debug)]
pub struct Blkfront {
    device: Device,
    handle: u16,
    grants: GrantTable,
    options: Options,
    geometry: Geometry,
    lanes: Vec<Lane>,
    /// Requests whose completion was taken while waiting for another one.
    done: VecDeque<Completion>,
    /// Pages that are lent already and not in use.
    spare: Vec<Grant>,
}

impl Blkfront {
    /// Connects to the disk with a number (`device/vbd/NUMBER`), which [`Device::list`] finds.
    ///
    /// # Errors
    ///
    /// When the device is incomplete, refused, or there is no memory for its rings.
    pub fn connect(
        store: &mut impl Store,
        grants: &GrantTable,
        id: u32,
        options: Options,
    ) -> Result<Self, DeviceError> {
        let device = Device::open(store, "vbd", id)?;
        // The protocol carries 16 bits of it, and nobody reads them.
        let handle = u16::try_from(id).unwrap_or(0);
        match connect(store, grants, &device, handle, &options) {
            Ok((lanes, geometry)) => Ok(Self {
                device,
                handle,
                grants: grants.clone(),
                options,
                geometry,
                lanes,
                done: VecDeque::new(),
                spare: Vec::new(),
            }),
            Err(error) => {
                // The backend hears that nobody is there; the watch goes as well.
                device.end_close(store)?;
                device.forget(store)?;
                Err(error)
            }
        }
    }

    /// What disk it is.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Its folders in xenstore.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The domain that serves it, to which pages are lent.
    #[must_use]
    pub fn backend(&self) -> DomId {
        self.device.back_domain()
    }

    /// The ports that fire when a request is answered, one for each ring.
    pub fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        self.lanes.iter().map(|lane| lane.channel.port())
    }

    /// How many rings there are.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.lanes.len()
    }

    /// A page lent to the backend, for segments, with whatever lies in it.
    ///
    /// # Errors
    ///
    /// When memory or grants have run out.
    pub fn page(&mut self) -> Result<Grant, Errno> {
        match self.spare.pop() {
            Some(page) => Ok(page),
            None => self.grants.lend(self.backend()),
        }
    }

    /// Keeps the pages of a request that has ended for the next [`page`](Self::page): a backend
    /// with persistent grants has them mapped already. A page that is dropped instead comes back
    /// when that backend lets go of it, perhaps only when the disk is closed.
    pub fn recycle(&mut self, request: Request) {
        let pages = request.segments.into_iter().map(|segment| segment.page);
        self.spare.extend(pages);
    }

    /// Puts a request on the first ring. The backend sees it after [`kick`](Self::kick).
    ///
    /// # Errors
    ///
    /// When it makes no sense or there is no room; the request comes back.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, SubmitError> {
        self.submit_on(0, request)
    }

    /// Puts a request on a ring: the number is taken modulo how many there are.
    ///
    /// # Errors
    ///
    /// As for [`submit`](Self::submit).
    pub fn submit_on(&mut self, queue: usize, request: Request) -> Result<RequestId, SubmitError> {
        if let Err(invalid) = request.check(&self.geometry) {
            return Err(SubmitError::Invalid(request, invalid));
        }
        let backend = self.backend();
        let count = self.lanes.len().max(1);
        match self.lanes.get_mut(queue % count) {
            Some(lane) => lane
                .queue
                .push(request, &self.grants, backend)
                .map_err(SubmitError::Busy),
            None => Err(SubmitError::Busy(request)),
        }
    }

    /// Shows the backend what was submitted.
    pub fn kick(&mut self) {
        for lane in &mut self.lanes {
            if lane.queue.publish() {
                lane.channel.notify();
            }
        }
    }

    /// The next request that has ended.
    ///
    /// # Errors
    ///
    /// When the backend broke the protocol.
    pub fn complete(&mut self) -> Result<Option<Completion>, DeviceError> {
        if let Some(done) = self.done.pop_front() {
            return Ok(Some(done));
        }
        self.poll()
    }

    /// The next request that the backend has answered.
    fn poll(&mut self) -> Result<Option<Completion>, DeviceError> {
        for lane in &mut self.lanes {
            if let Some(done) = lane.queue.pop()? {
                return Ok(Some(done));
            }
        }
        Ok(None)
    }

    /// Asks for an event at the next answer. If this says that one is there already, there may be
    /// no event for it: call [`complete`](Self::complete) first.
    #[must_use]
    pub fn arm(&mut self) -> bool {
        self.lanes
            .iter_mut()
            .fold(false, |ready, lane| lane.queue.arm() | ready)
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.queue.is_idle())
    }

    /// What the backend wants, when the watch of its state has fired.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn life(&self, store: &mut impl Store) -> Result<Life, DeviceError> {
        Ok(self.device.life(store)?)
    }

    /// Connects anew, to the backend that has taken the place of the old one, and sends again
    /// whatever was in flight. The numbers of those requests change: the answer has old and new.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect); what was in flight then fails with [`Failure::Closed`].
    pub fn reconnect(
        &mut self,
        store: &mut impl Store,
    ) -> Result<Vec<(RequestId, RequestId)>, DeviceError> {
        self.collect_answers();
        let lost = self.abandon();
        let connected = connect(
            store,
            &self.grants,
            &self.device,
            self.handle,
            &self.options,
        );
        match connected {
            Ok((lanes, geometry)) => (self.lanes, self.geometry) = (lanes, geometry),
            Err(error) => {
                self.done.extend(lost);
                return Err(error);
            }
        }
        let renamed = self.send_again(lost);
        self.kick();
        Ok(renamed)
    }

    /// Submits requests of an earlier connection; those that fit no longer fail.
    fn send_again(&mut self, lost: Vec<Completion>) -> Vec<(RequestId, RequestId)> {
        let mut renamed = Vec::new();
        for Completion {
            id,
            request,
            result,
        } in lost
        {
            match self.submit_on(id.queue.into(), request) {
                Ok(new) => renamed.push((id, new)),
                Err(SubmitError::Busy(request) | SubmitError::Invalid(request, _)) => {
                    self.done.push_back(Completion {
                        id,
                        request,
                        result,
                    });
                }
            }
        }
        renamed
    }

    /// Takes what the backend has answered; a broken one has answered nothing more.
    fn collect_answers(&mut self) {
        while let Ok(Some(done)) = self.poll() {
            self.done.push_back(done);
        }
    }

    /// Gives up the rings: the requests that were in flight.
    fn abandon(&mut self) -> Vec<Completion> {
        let lanes = core::mem::take(&mut self.lanes);
        lanes
            .into_iter()
            .flat_map(|lane| lane.queue.abandon())
            .collect()
    }

    /// Closes the disk: tells the backend, waits until it has let go, and gives the rings back.
    /// The answer has what had not been taken yet; requests that were in flight have failed.
    ///
    /// # Errors
    ///
    /// xenstore's refusal.
    pub fn close(mut self, store: &mut impl Store) -> Result<Vec<Completion>, DeviceError> {
        self.device.begin_close(store)?;
        self.collect_answers();
        let lost = self.abandon();
        self.spare.clear();
        self.device.end_close(store)?;
        let mut done: Vec<_> = self.done.into();
        done.extend(lost);
        self.device.forget(store)?;
        Ok(done)
    }

    /// A ring as it is. A driver has no use for it; a kernel that tests its backend has.
    #[must_use]
    pub fn ring(&self, queue: usize) -> Option<&FrontRing> {
        self.lanes.get(queue).map(|lane| lane.queue.ring())
    }

    /// Notifies the backend of a ring, whether there is something on it or not. For such kernels,
    /// too.
    pub fn notify(&self, queue: usize) {
        if let Some(lane) = self.lanes.get(queue) {
            lane.channel.notify();
        }
    }
}

/// The handshake, from the offer to both ends being connected.
fn connect(
    store: &mut impl Store,
    grants: &GrantTable,
    device: &Device,
    handle: u16,
    options: &Options,
) -> Result<(Vec<Lane>, Geometry), DeviceError> {
    device.wait_for_offer(store)?;
    let terms: Terms = connect::negotiate(store, device, options)?;
    let lanes = connect::lanes(grants, device, handle, &terms)?;
    let addresses: Vec<_> = lanes.iter().map(Lane::address).collect();
    let geometry = connect::introduce(store, device, &terms, &addresses)?;
    Ok((lanes, geometry))
}
