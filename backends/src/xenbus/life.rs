//! The life of a device, whatever its kind.

use alloc::rc::Rc;
use alloc::string::String;
use core::cell::Cell;
use core::fmt;
use core::future::Future;
use core::pin::pin;

use futures_util::future::select;
use guest_abi::Errno;
use guest_abi::io::xenbus::XenbusState;

use super::Device;
use crate::host::GrantRefused;
use crate::signal::Signal;
use crate::xenstore::Error;

/// How long a frontend that has closed is still served, in nanoseconds: what its kernel had
/// queued comes out as soon as what was in flight is answered.
pub(super) const LINGER: u64 = 100_000_000;

/// Why a frontend is disconnected: one line for the log and for its `error` node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// A refusal with these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Refusal {}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(alloc::format!("xenstore: {error}"))
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self(errno.name().into())
    }
}

impl From<GrantRefused> for Refusal {
    fn from(refused: GrantRefused) -> Self {
        Self(alloc::format!("{refused}"))
    }
}

/// What the toolstack wants of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// To serve its frontend.
    #[default]
    Serve,
    /// To be closed, together with its frontend.
    Detach,
    /// To let go of everything without a word to the frontend, so that another instance can
    /// take over where this one stopped.
    HandOver,
}

/// The toolstack's hold on a running device. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Control(Rc<(Cell<Wish>, Signal)>);

impl Control {
    /// Tells the device what is wanted.
    pub fn wish(&self, wish: Wish) {
        self.0.0.set(wish);
        self.0.1.notify();
    }

    fn current(&self) -> Wish {
        self.0.0.get()
    }

    /// Waits until another instance is to take over.
    async fn hand_over(&self) {
        loop {
            let seen = self.0.1.count();
            if self.current() == Wish::HandOver {
                return;
            }
            self.0.1.after(seen).await;
        }
    }
}

/// How a device's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both ends are closed; its nodes can go.
    Closed,
    /// It let go; another instance can take over.
    HandedOver,
}

/// A kind of backend: what differs between disks and networks.
///
/// The order of calls is `offer`, then `connect` and `serve` as often as the frontend starts anew.
#[expect(
    async_fn_in_trait,
    reason = "one thread: nobody needs the futures to be Send"
)]
pub trait Backend {
    /// A frontend's rings, mapped and bound; dropping it undoes that.
    type Connection;

    /// Writes what the backend can do, before the frontend looks.
    ///
    /// # Errors
    ///
    /// The store's.
    fn offer(&self, device: &Device) -> Result<(), Error>;

    /// Reads what the frontend wants, maps its rings and binds its ports; then writes what the
    /// frontend must know before it goes on. When a frontend was connected already (another
    /// instance handed over), it goes on where that one stopped.
    ///
    /// # Errors
    ///
    /// What is wrong with the frontend.
    fn connect(&self, device: &Device) -> Result<Self::Connection, Refusal>;

    /// Serves until `stop` is done; then takes no more requests, finishes those it has taken,
    /// and returns with the rings in a state that another instance can go on from.
    ///
    /// # Errors
    ///
    /// What the frontend did wrong.
    async fn serve(
        &self,
        connection: &mut Self::Connection,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Refusal>;
}

/// Drives a device until the toolstack has enough of it.
///
/// # Errors
///
/// When the device's own nodes are gone or can't be written.
pub async fn run(device: &Device, backend: &impl Backend, control: &Control) -> Result<End, Error> {
    // A device that another instance has served, refused or closed is left as it is: what comes
    // next is the frontend's to say.
    if matches!(
        device.state(),
        XenbusState::Unknown | XenbusState::Initialising | XenbusState::InitWait
    ) {
        offer(device, backend)?;
    }
    loop {
        let wish = control.current();
        match (device.front_state(), device.state(), wish) {
            (_, _, Wish::HandOver) => return Ok(End::HandedOver),
            // Gone, closed, or never begun: there is nobody to wait for.
            (
                XenbusState::Closed | XenbusState::Unknown | XenbusState::Initialising,
                _,
                Wish::Detach,
            ) => {
                device.switch(XenbusState::Closed)?;
                return Ok(End::Closed);
            }
            (_, _, Wish::Detach) => device.switch(XenbusState::Closing)?,
            (
                XenbusState::Initialised | XenbusState::Connected,
                XenbusState::InitWait | XenbusState::Connected,
                Wish::Serve,
            ) => {
                connected(device, backend, control).await?;
                continue;
            }
            // It starts anew. Only this undoes a refusal. (It has been Closed even if that was
            // over before we looked.)
            (XenbusState::Initialising, state, _) if state != XenbusState::InitWait => {
                offer(device, backend)?;
            }
            (XenbusState::Closing, state, _) if state != XenbusState::Closed => {
                device.switch(XenbusState::Closing)?;
            }
            (XenbusState::Closed, _, _) => device.switch(XenbusState::Closed)?,
            _ => {}
        }
        select(pin!(device.front_changed()), pin!(changed(control, wish))).await;
    }
}

/// Waits until something else than `wish` is wanted.
async fn changed(control: &Control, wish: Wish) {
    loop {
        let seen = control.0.1.count();
        if control.current() != wish {
            return;
        }
        control.0.1.after(seen).await;
    }
}

fn offer(device: &Device, backend: &impl Backend) -> Result<(), Error> {
    backend.offer(device)?;
    if device.back("error").is_some() {
        device.write(&[("error", &"")])?;
    }
    device.switch(XenbusState::InitWait)
}

/// Connects and serves a frontend until it closes, breaks the rules, or something else is wanted.
async fn connected(
    device: &Device,
    backend: &impl Backend,
    control: &Control,
) -> Result<(), Error> {
    let mut ended = Ok(());
    let outcome = match backend.connect(device) {
        Ok(mut connection) => {
            device.switch(XenbusState::Connected)?;
            let stop = async {
                ended = end(device, control).await;
            };
            backend.serve(&mut connection, stop).await
        }
        Err(refusal) => Err(refusal),
    };
    ended?;
    match outcome {
        Ok(()) if control.current() == Wish::HandOver => Ok(()),
        Ok(()) => device.switch(XenbusState::Closing),
        Err(refusal) => {
            if device.may_complain() {
                log::warn!("{device}: disconnected: {refusal}");
            }
            device.write(&[("error", &refusal)])?;
            device.switch(XenbusState::Closing)
        }
    }
}

/// Waits until there is nobody to serve any more: the frontend has closed, or another instance is
/// to take over. If the device is to go, the frontend is asked to close, and served on until it
/// does.
///
/// One that closes at once may still have requests on their way, and wait for them for good:
/// Linux's block frontend does when its device is taken away under load.
async fn end(device: &Device, control: &Control) -> Result<(), Error> {
    let mut asked = false;
    loop {
        let wish = control.current();
        match (device.front_state(), wish) {
            (XenbusState::Initialised | XenbusState::Connected, Wish::Serve) => {}
            (XenbusState::Initialised | XenbusState::Connected, Wish::Detach) => {
                device.switch(XenbusState::Closing)?;
                asked = true;
            }
            (XenbusState::Closed, Wish::Detach) if asked => break,
            _ => return Ok(()),
        }
        select(pin!(device.front_changed()), pin!(changed(control, wish))).await;
    }
    let deadline = device.host().now().saturating_add(LINGER);
    let over = device.host().sleep_until(deadline);
    select(over, pin!(control.hand_over())).await;
    Ok(())
}
