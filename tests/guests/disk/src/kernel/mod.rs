//! The kernel: finds its disk and does what it is told.

mod bench;
mod durable;
mod hostile;
mod raw;
mod verify;

use alloc::{format, string::String};

use frontends::{
    blkfront::{Blkfront, DiskError, Options},
    grants::GrantTable,
    guest_abi::{Errno, sched::ShutdownReason},
    println, sched,
    start::StartOfDay,
    xenbus::{Device, DeviceError, Store, StoreError, Xenbus},
};

/// What went wrong, in words.
pub(crate) struct Failed(String);

macro_rules! failed_from {
    ($($ty:ty),*) => {$(
        impl From<$ty> for Failed {
            fn from(error: $ty) -> Self {
                Self(format!("{error}"))
            }
        }
    )*};
}

failed_from!(DeviceError, DiskError, StoreError);

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self(errno.name().into())
    }
}

impl From<String> for Failed {
    fn from(words: String) -> Self {
        Self(words)
    }
}

/// What every mode needs.
pub(crate) struct Host {
    pub(crate) start: &'static StartOfDay,
    pub(crate) store: Xenbus,
    pub(crate) grants: GrantTable,
    /// The disk's number.
    pub(crate) id: u32,
}

impl Host {
    /// A number from the command line.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.start.argument(name)?.parse().ok()
    }

    /// The rings wanted.
    fn options(&self) -> Options {
        let wish = Options::default();
        let number = |name| self.number(name);
        Options {
            queues: number("queues").map_or(wish.queues, |n| u16::try_from(n).unwrap_or(1)),
            ring_order: number("ring-order").map_or(0, |n| u32::try_from(n).unwrap_or(0)),
            max_segments: number("segments").map_or(wish.max_segments, |n| {
                usize::try_from(n).unwrap_or(wish.max_segments)
            }),
            persistent: !self.start.arguments().contains(&"transient"),
        }
    }

    /// Connects to the disk.
    pub(crate) fn connect(&mut self) -> Result<Blkfront, DeviceError> {
        let options = self.options();
        Blkfront::connect(&mut self.store, &self.grants, self.id, options)
    }
}

/// Says what disk it is.
fn describe(id: u32, disk: &Blkfront) {
    let it = disk.geometry();
    println!(
        "disk {id}: {} sectors, {}/{} bytes each, {} segments, {} queues{}",
        it.sectors,
        it.sector_size,
        it.physical_sector_size,
        it.max_segments,
        disk.queues(),
        if it.read_only { ", read-only" } else { "" },
    );
    println!("features: {:?}", it.features);
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
    let mut store = Xenbus::open(start)?.ok_or_else(|| Failed("no xenstore".into()))?;
    let grants = GrantTable::new(1)?;
    let wanted = start.argument("disk").and_then(|id| id.parse().ok());
    let id = match wanted {
        Some(id) => id,
        None => first_disk(&mut store)?,
    };
    let mut host = Host {
        start,
        store,
        grants,
        id,
    };
    let arguments = start.arguments();
    let mode = arguments.first().copied().unwrap_or("verify");
    let count = arguments.get(1).and_then(|word| word.parse::<u64>().ok());
    if mode == "hostile" {
        return hostile::run(&mut host);
    }
    let mut disk = host.connect()?;
    describe(id, &disk);
    let verdict = match mode {
        "verify" => return verify::run(host, disk),
        "durable" => durable::run(&host, &mut disk),
        "check" => durable::check(&host, &mut disk),
        "read-sector" => show(&mut disk, count.unwrap_or(0)),
        "bench-read" | "bench-write" | "bench-seq" => {
            bench::run(&host, &mut disk, mode, count.unwrap_or(1000))
        }
        other => Err(Failed(format!("no mode {other}"))),
    };
    disk.close(&mut host.store)?;
    verdict
}

/// The domain's first disk; waits for one to be plugged in.
fn first_disk(store: &mut Xenbus) -> Result<u32, StoreError> {
    const TOKEN: &str = "plug";
    store.begin_watch("device", TOKEN)?;
    let id = loop {
        store.wait(TOKEN);
        if let Some(id) = Device::list(store, "vbd")?.into_iter().next() {
            break id;
        }
    };
    store.end_watch("device", TOKEN)?;
    Ok(id)
}

/// Prints the first bytes of a sector.
fn show(disk: &mut Blkfront, sector: u64) -> Result<String, Failed> {
    let mut bytes = [0; 4096];
    let len = disk.geometry().sector_size as usize;
    disk.read(sector, &mut bytes[..len.min(4096)])?;
    println!("sector {sector}: {:02x?}", &bytes[..32]);
    Ok(String::new())
}
