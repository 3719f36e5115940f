//! The kernel: finds its card and does what it is told.

mod flood;
mod hostile;
mod ping;
mod serve;
mod stack;
mod tcp;

use alloc::{format, string::String};

use frontends::{
    grants::GrantTable,
    guest_abi::{Errno, VcpuId, sched::ShutdownReason},
    netfront::{Netfront, Options},
    println, sched,
    start::StartOfDay,
    xenbus::{Device, DeviceError, Store, StoreError, Xenbus},
};

/// The only virtual CPU.
pub(crate) const VCPU: VcpuId = VcpuId::new(0);

/// What went wrong, in words.
pub(crate) struct Failed(pub(crate) String);

macro_rules! failed_from {
    ($($ty:ty),*) => {$(
        impl From<$ty> for Failed {
            fn from(error: $ty) -> Self {
                Self(format!("{error}"))
            }
        }
    )*};
}

failed_from!(DeviceError, StoreError);

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self(errno.name().into())
    }
}

impl From<&str> for Failed {
    fn from(words: &str) -> Self {
        Self(words.into())
    }
}

/// What every mode needs.
pub(crate) struct Host {
    pub(crate) start: &'static StartOfDay,
    pub(crate) store: Xenbus,
    pub(crate) grants: GrantTable,
    /// The card's number.
    pub(crate) id: u32,
}

impl Host {
    /// A number from the command line.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.start.argument(name)?.parse().ok()
    }

    /// Whether the command line has a word.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.start.arguments().contains(&word)
    }

    /// Connects to the card.
    pub(crate) fn connect(&mut self) -> Result<Netfront, DeviceError> {
        let wish = Options::default();
        let queues = self.number("queues").and_then(|n| u16::try_from(n).ok());
        let options = Options {
            queues: queues.unwrap_or(wish.queues),
            large_frames: !self.has_word("small"),
        };
        Netfront::connect(&mut self.store, &self.grants, self.id, options)
    }
}

/// Runs the mode that the command line names.
pub(crate) fn main(start: &'static StartOfDay) -> ! {
    match run(start) {
        Ok(verdict) => println!("verdict: ok {verdict}"),
        Err(Failed(why)) => println!("verdict: failed: {why}"),
    }
    sched::shutdown(ShutdownReason::Poweroff)
}

fn run(start: &'static StartOfDay) -> Result<String, Failed> {
    let mut store = Xenbus::open(start)?.ok_or("no xenstore")?;
    let grants = GrantTable::new(1)?;
    let wanted = start.argument("vif").and_then(|id| id.parse().ok());
    let id = match wanted {
        Some(id) => id,
        None => first_card(&mut store)?,
    };
    let mut host = Host {
        start,
        store,
        grants,
        id,
    };
    let mode = start.arguments().first().copied().unwrap_or("echo");
    match mode {
        "echo" => tcp::echo(host),
        "sink" => serve::sink(host),
        "serve" => serve::serve(host),
        "source" => tcp::source(host),
        "ping" => ping::run(host),
        "flood" => flood::run(&mut host),
        "hostile" => hostile::run(&mut host),
        other => Err(Failed(format!("no mode {other}"))),
    }
}

/// The domain's first card; waits for one to be plugged in.
fn first_card(store: &mut Xenbus) -> Result<u32, StoreError> {
    const TOKEN: &str = "plug";
    store.begin_watch("device", TOKEN)?;
    let id = loop {
        store.wait(TOKEN);
        if let Some(id) = Device::list(store, "vif")?.into_iter().next() {
            break id;
        }
    };
    store.end_watch("device", TOKEN)?;
    Ok(id)
}
