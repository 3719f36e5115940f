//! Disks as users open them.

use std::future::Future;
use std::rc::Rc;

use backends::host::fake::{FakeDisk, FakeHost};
use backends::host::{Disk, DiskError, DiskRequest};

use super::block::{memory, perform, pieces};
use super::partition::tests::write_gpt;
use super::{Disks, Mode, OpenDisk, Storage, StorageError};
use crate::executor::Runtime;
use crate::executor::tests::FakePlatform;

/// The disks of a test.
pub(super) struct FakeDisks(pub(super) Vec<(&'static str, Rc<dyn Disk>)>);

impl Disks for FakeDisks {
    fn all(&self) -> Vec<(String, Rc<dyn Disk>)> {
        let all = self.0.iter();
        all.map(|(name, disk)| (name.to_string(), disk.clone()))
            .collect()
    }
}

/// A host under test.
pub(super) struct Bench {
    pub(super) runtime: Runtime,
    pub(super) host: Rc<FakeHost>,
    pub(super) storage: Rc<Storage>,
}

impl Bench {
    pub(super) fn new(disks: Vec<(&'static str, Rc<dyn Disk>)>) -> Self {
        let runtime = Runtime::new(FakePlatform::default());
        let host = FakeHost::new();
        let storage = Storage::new(&runtime, host.clone(), Rc::new(FakeDisks(disks)));
        Self {
            runtime,
            host,
            storage,
        }
    }

    pub(super) fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.runtime.block_on(future)
    }

    pub(super) fn open(&self, spec: &str, mode: Mode) -> Result<OpenDisk, StorageError> {
        self.open_for(spec, mode, "domain web")
    }

    pub(super) fn open_for(
        &self,
        spec: &str,
        mode: Mode,
        holder: &str,
    ) -> Result<OpenDisk, StorageError> {
        let (storage, spec, holder) = (self.storage.clone(), spec.to_string(), holder.to_string());
        self.run(async move { storage.open(&spec, mode, &holder).await })
    }

    /// The words of a refusal.
    pub(super) fn refusal(&self, spec: &str, mode: Mode) -> String {
        self.open_for(spec, mode, "domain db")
            .unwrap_err()
            .to_string()
    }

    /// Writes a byte all over a sector.
    pub(super) fn fill(&self, disk: &OpenDisk, sector: u64, byte: u8) -> Result<(), DiskError> {
        let memory = memory(&*self.host, 512).unwrap();
        memory.copy_to(0, &[byte; 512]);
        let disk: Rc<dyn Disk> = (**disk).clone();
        self.run(async move {
            let request = DiskRequest::Write {
                sector,
                pieces: pieces(&memory, 0, 512),
                durable: false,
            };
            perform(&*disk, request).await
        })
    }
}

fn bench() -> (Bench, FakeDisk) {
    let disk = FakeDisk::new(2048);
    write_gpt(&disk, &[("boot", 64, 127), ("data", 128, 1000)]);
    let sealed = FakeDisk::new(16).with_geometry(|geometry| geometry.read_only = true);
    let bench = Bench::new(vec![
        ("vda", Rc::new(disk.clone())),
        ("vdb", Rc::new(sealed)),
    ]);
    (bench, disk)
}

#[test]
fn a_partition_is_found_by_number_and_by_name() {
    let (bench, disk) = bench();
    for (spec, start) in [
        ("/dev/vda1", 64),
        ("vda2", 128),
        ("/dev/disk/by-partlabel/data", 128),
    ] {
        let open = bench.open(spec, Mode::ReadWrite).unwrap();
        bench.fill(&open, 3, 7).unwrap();
        let at = (start + 3) * 512;
        disk.with_bytes(|bytes| assert_eq!(std::mem::take(&mut bytes[at]), 7, "{spec}"));
    }
}

#[test]
fn a_partition_ends_where_it_ends() {
    let (bench, _) = bench();
    let open = bench.open("vda1", Mode::ReadWrite).unwrap();
    assert_eq!(open.geometry().sectors, 64);
    assert_eq!(bench.fill(&open, 63, 1), Ok(()));
    for sector in [64, u64::MAX] {
        assert_eq!(bench.fill(&open, sector, 1), Err(DiskError::OutOfRange));
    }
}

#[test]
fn what_is_open_for_writing_is_refused_to_others_and_the_holder_named() {
    let (bench, _) = bench();
    let open = bench.open("vda1", Mode::ReadWrite).unwrap();
    for spec in ["vda", "/dev/vda1", "/dev/disk/by-partlabel/boot"] {
        for mode in [Mode::ReadOnly, Mode::ReadWrite] {
            let refusal = bench.refusal(spec, mode);
            assert!(refusal.contains("is in use by domain web"), "{refusal}");
        }
    }
    bench.open("vda2", Mode::ReadWrite).unwrap();
    let user: Rc<dyn Disk> = (*open).clone();
    drop(open);
    assert!(bench.open("vda", Mode::ReadWrite).is_err());
    drop(user);
    bench.open("vda", Mode::ReadWrite).unwrap();
}

#[test]
fn a_disk_opened_for_reading_is_not_written() {
    let (bench, _) = bench();
    let open = bench.open("vda1", Mode::ReadOnly).unwrap();
    assert!(open.geometry().read_only);
    assert_eq!(bench.fill(&open, 0, 1), Err(DiskError::Unsupported));
    bench.open("vda", Mode::ReadOnly).unwrap();
}

#[test]
fn refusals_say_what_to_do() {
    let (bench, _) = bench();
    for (spec, words) in [
        ("/dev/vdc", "/dev/vdc: no such disk; did you mean vda?"),
        ("xyzzy", "xyzzy: no such disk; there are vda, vdb"),
        ("vda7", "vda7: no such partition; did you mean vda1?"),
        ("vdb1", "vdb1: no such partition; vdb has no partitions"),
        (
            "/dev/disk/by-partlabel/dat",
            "/dev/disk/by-partlabel/dat: no such partition; did you mean data?",
        ),
        (
            "vdb",
            "vdb cannot be written: the device is read-only; use mode r",
        ),
    ] {
        assert_eq!(bench.refusal(spec, Mode::ReadWrite), words);
    }
    assert!(bench.refusal("", Mode::ReadOnly).contains("names no disk"));
    let refusal = Bench::new(vec![]).refusal("vda", Mode::ReadOnly);
    assert!(refusal.contains("this host has no disks"), "{refusal}");
}
