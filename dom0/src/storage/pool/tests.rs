//! Pools and volumes as users and guests see them.

use std::rc::Rc;

use backends::host::fake::FakeDisk;
use backends::host::{Disk, DiskError, DiskRequest};

use crate::storage::block::{memory, perform, pieces};
use crate::storage::tests::Bench;
use crate::storage::{Mode, OpenDisk, PoolInfo, StorageError};

/// Chunks of a pool of eight megabytes that hold data.
const DATA: u64 = 128 - 1 - 4 - 2;

/// A host with a pool `p` on `vdb`, and an image on `vda`.
struct Host {
    bench: Bench,
    image: FakeDisk,
    device: FakeDisk,
}

impl Host {
    fn new() -> Self {
        let image = FakeDisk::new(2048);
        image.with_bytes(|bytes| {
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = (at / 512) as u8 | 1;
            }
            // No signature of a file system.
            bytes[510] = 0;
        });
        let host = Self::on(image, FakeDisk::new(16384));
        let storage = host.bench.storage.clone();
        let made = host
            .bench
            .run(async move { storage.create_pool("p", "/dev/vdb", false).await });
        made.unwrap();
        host
    }

    fn on(image: FakeDisk, device: FakeDisk) -> Self {
        let bench = Bench::new(vec![
            ("vda", Rc::new(image.clone())),
            ("vdb", Rc::new(device.clone())),
        ]);
        Self {
            bench,
            image,
            device,
        }
    }

    /// The same disks after a restart.
    fn restart(self) -> Self {
        let host = Self::on(self.image, self.device);
        let storage = host.bench.storage.clone();
        host.bench.run(async move { storage.start().await });
        host
    }

    fn create(&self, name: &str, mib: u64, base: Option<&str>) -> Result<(), StorageError> {
        let (storage, name) = (self.bench.storage.clone(), name.to_string());
        let base = base.map(str::to_string);
        let size = (mib > 0).then_some(mib << 20);
        self.bench
            .run(async move { storage.create_volume(&name, size, base.as_deref()).await })
    }

    fn snapshot(&self, name: &str, new: &str) -> Result<(), StorageError> {
        let (storage, name, new) = (
            self.bench.storage.clone(),
            name.to_string(),
            new.to_string(),
        );
        self.bench
            .run(async move { storage.snapshot_volume(&name, &new).await })
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        let (storage, name) = (self.bench.storage.clone(), name.to_string());
        self.bench
            .run(async move { storage.remove_volume(&name).await })
    }

    fn open(&self, name: &str) -> OpenDisk {
        self.bench.open(name, Mode::ReadWrite).unwrap()
    }

    fn pool(&self) -> PoolInfo {
        self.bench.storage.pools().remove(0)
    }

    fn request(&self, disk: &OpenDisk, request: DiskRequest) -> Result<(), DiskError> {
        let disk: Rc<dyn Disk> = (**disk).clone();
        self.bench
            .run(async move { perform(&*disk, request).await })
    }

    /// Writes a byte all over sectors.
    fn fill(&self, disk: &OpenDisk, sector: u64, count: usize, byte: u8) -> Result<(), DiskError> {
        let memory = memory(&*self.bench.host, count * 512).unwrap();
        memory.copy_to(0, &vec![byte; count * 512]);
        let pieces = pieces(&memory, 0, count * 512);
        let write = DiskRequest::Write {
            sector,
            pieces,
            durable: false,
        };
        self.request(disk, write)
    }

    fn flush(&self, disk: &OpenDisk) {
        self.request(disk, DiskRequest::Flush).unwrap();
    }

    /// The first byte of a sector.
    fn byte(&self, disk: &OpenDisk, sector: u64) -> u8 {
        let memory = memory(&*self.bench.host, 512).unwrap();
        let pieces = pieces(&memory, 0, 512);
        self.request(disk, DiskRequest::Read { sector, pieces })
            .unwrap();
        let mut byte = [0];
        memory.copy_from(0, &mut byte);
        byte[0]
    }
}

fn refusal(result: Result<(), StorageError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn an_overlay_shows_its_base_and_takes_room_for_what_is_written_only() {
    let host = Host::new();
    host.create("p/web", 4, Some("/dev/vda")).unwrap();
    assert_eq!(host.pool().free, DATA << 16);
    let web = host.open("/dev/p/web");
    assert_eq!(web.geometry().sectors, 8192);
    host.fill(&web, 101, 1, 0xee).unwrap();
    for (sector, byte) in [(100, 101), (101, 0xee), (102, 103), (3000, 0)] {
        assert_eq!(host.byte(&web, sector), byte, "sector {sector}");
    }
    assert_eq!(host.pool().free, (DATA - 1) << 16);
    assert_eq!(host.pool().volumes[0].allocated, 1 << 16);
    host.image
        .with_bytes(|bytes| assert_eq!(bytes[101 * 512], 101));
}

#[test]
fn volumes_are_there_after_a_restart() {
    let host = Host::new();
    host.create("p/web", 4, Some("/dev/vda")).unwrap();
    let web = host.open("p/web");
    host.fill(&web, 7, 300, 0xee).unwrap();
    host.flush(&web);
    drop(web);
    let host = host.restart();
    let web = host.open("p/web");
    assert_eq!((host.byte(&web, 7), host.byte(&web, 306)), (0xee, 0xee));
    assert_eq!(
        (host.byte(&web, 6), host.byte(&web, 307)),
        (7, 307u16 as u8)
    );
}

#[test]
fn a_base_is_not_written_while_a_volume_needs_it() {
    let host = Host::new();
    host.create("p/web", 0, Some("vda")).unwrap();
    let host = host.restart();
    let words = host.bench.refusal("vda", Mode::ReadWrite);
    assert!(
        words.contains("is in use by volume web, whose base it is"),
        "{words}"
    );
    host.bench.open("vda", Mode::ReadOnly).unwrap();
    host.remove("p/web").unwrap();
    host.bench.open("vda", Mode::ReadWrite).unwrap();
}

#[test]
fn the_device_of_a_pool_is_the_pools() {
    let host = Host::new();
    let words = host.bench.refusal("vdb", Mode::ReadOnly);
    assert!(words.contains("vdb is in use by its pool"), "{words}");
}

#[test]
fn a_snapshot_keeps_what_was_there_and_serves_as_a_base() {
    let host = Host::new();
    host.create("p/web", 2, None).unwrap();
    let web = host.open("p/web");
    host.fill(&web, 0, 8, 1).unwrap();
    host.snapshot("p/web", "monday").unwrap();
    host.fill(&web, 0, 4, 2).unwrap();
    host.create("p/copy", 0, Some("p/monday")).unwrap();
    let copy = host.open("p/copy");
    host.fill(&copy, 1, 1, 3).unwrap();
    let monday = host.bench.open("p/monday", Mode::ReadOnly).unwrap();
    for (disk, bytes) in [(&web, [2, 2, 1]), (&monday, [1, 1, 1]), (&copy, [1, 3, 1])] {
        assert_eq!([0, 1, 7].map(|sector| host.byte(disk, sector)), bytes);
    }
    let words = host.bench.refusal("p/monday", Mode::ReadWrite);
    assert!(words.contains("it is a snapshot"), "{words}");
    drop((web, monday, copy));
    let words = refusal(host.remove("p/monday"));
    assert!(words.contains("it is the base of"), "{words}");
    for name in ["p/web", "p/copy", "p/monday"] {
        host.remove(name).unwrap();
    }
    assert_eq!(host.pool().free, DATA << 16);
}

#[test]
fn a_full_pool_refuses_writes_and_loses_nothing() {
    let host = Host::new();
    host.create("p/big", 64, None).unwrap();
    let big = host.open("p/big");
    let mut chunk = 0;
    let refused = loop {
        match host.fill(&big, chunk * 128, 128, chunk as u8) {
            Ok(()) => chunk += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((refused, chunk), (DiskError::NoSpace, DATA));
    // Neither what is there nor what is not is harmed; what is given up can be used again.
    host.fill(&big, 5 * 128, 128, 99).unwrap();
    assert_eq!(host.byte(&big, chunk * 128), 0);
    let discard = DiskRequest::Discard {
        sector: 0,
        sectors: 384,
    };
    host.request(&big, discard).unwrap();
    host.fill(&big, 60_000, 256, 77).unwrap();
    assert_eq!(host.byte(&big, 60_255), 77);
    assert_eq!(host.byte(&big, 5 * 128), 99);
}

#[test]
fn a_hundred_overlays_take_no_room_at_first() {
    let host = Host::new();
    for number in 0..60 {
        host.create(&format!("p/v{number}"), 1 << 10, Some("vda"))
            .unwrap();
    }
    assert_eq!(host.pool().volumes.len(), 60);
    assert_eq!(host.pool().free, DATA << 16);
}

#[test]
fn a_write_to_blocks_that_are_there_is_one_request_of_the_device() {
    let host = Host::new();
    host.create("p/v", 4, None).unwrap();
    let v = host.open("p/v");
    host.fill(&v, 0, 512, 1).unwrap();
    host.flush(&v);
    let before = host.device.counts.get();
    host.fill(&v, 100, 300, 2).unwrap();
    host.flush(&v);
    host.byte(&v, 100);
    let after = host.device.counts.get();
    let new: Vec<u32> = before
        .iter()
        .zip(after)
        .map(|(old, new)| new - old)
        .collect();
    assert_eq!(new, [1, 1, 1, 0]);
}

#[test]
fn a_failing_device_is_an_error_and_leaves_the_volume_usable() {
    let host = Host::new();
    host.create("p/v", 4, None).unwrap();
    let v = host.open("p/v");
    host.fill(&v, 0, 8, 1).unwrap();
    host.device.failure.set(Some(DiskError::Io));
    assert_eq!(host.fill(&v, 200, 8, 2), Err(DiskError::Io));
    assert_eq!(host.request(&v, DiskRequest::Flush), Err(DiskError::Io));
    host.device.failure.set(None);
    assert_eq!(host.byte(&v, 200), 0);
    host.fill(&v, 200, 8, 3).unwrap();
    host.flush(&v);
    drop(v);
    let host = host.restart();
    let v = host.open("p/v");
    assert_eq!([0, 200].map(|sector| host.byte(&v, sector)), [1, 3]);
}

#[test]
fn refusals_say_what_to_do() {
    let host = Host::new();
    host.create("p/web", 1, None).unwrap();
    let _web = host.open("p/web");
    for (words, expected) in [
        (
            refusal(host.create("p/web", 1, None)),
            "there is a volume web already",
        ),
        (refusal(host.create("p/a b", 1, None)), "'a b' is no name"),
        (
            refusal(host.create("p/new", 0, None)),
            "give a size, such as 10G",
        ),
        (
            refusal(host.create("q/new", 1, None)),
            "q: no such pool; there are p",
        ),
        (
            refusal(host.create("p/n", 1, Some("p/web"))),
            "`vol snapshot p/web NEW`",
        ),
        (
            refusal(host.create("p/n", 1, Some("vdc"))),
            "vdc: no such disk",
        ),
        (
            refusal(host.remove("p/wob")),
            "p/wob: no such volume; did you mean web?",
        ),
        (
            refusal(host.remove("p/web")),
            "p/web is in use by domain web",
        ),
        (refusal(host.remove("vda")), "write POOL/VOLUME"),
    ] {
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn a_disk_that_holds_something_is_not_made_a_pool() {
    let host = Host::new();
    host.image
        .with_bytes(|bytes| bytes[1080..1082].copy_from_slice(&[0x53, 0xef]));
    let init = |force| {
        let storage = host.bench.storage.clone();
        host.bench
            .run(async move { storage.create_pool("new", "vda", force).await })
    };
    let words = refusal(init(false));
    assert!(words.contains("vda: it holds a file system"), "{words}");
    let words = refusal(init(true));
    assert!(words.contains("too small for a pool"), "{words}");
}

#[test]
fn damaged_metadata_are_refused_and_the_host_goes_on() {
    let host = Host::new();
    host.create("p/web", 1, None).unwrap();
    host.device.with_bytes(|bytes| {
        for block in bytes[..1 << 16].chunks_mut(4096) {
            block[40] ^= 0xff;
        }
    });
    let host = host.restart();
    assert!(host.bench.storage.pools().is_empty());
}
