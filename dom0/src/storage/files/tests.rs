//! Files on a real ext4 file system: `samples/files.ext4.gz`, made by `mkfs.ext4 -d` and
//! `debugfs`. Every sector of its images begins with its own number, counted from 1:
//!
//! ```text
//!   /etc/web.cfg  /etc/kernel ─▶ ../boot/vmlinuz
//!   /images/full.img       256 KiB, all of it written
//!   /images/holes.img      200 KiB, with holes
//!   /images/set-aside.img  128 KiB, allocated and never written
//!   /images/frag.img        80 KiB, twenty blocks, none beside the next
//! ```

use std::rc::Rc;

use backends::host::fake::FakeDisk;
use backends::host::{Disk, DiskError, DiskRequest};

use super::FileInfo;
use crate::storage::block::{memory, perform, pieces};
use crate::storage::partition::tests::write_gpt;
use crate::storage::tests::Bench;
use crate::storage::{Mode, OpenDisk, StorageError};

const SAMPLE: &[u8] = include_bytes!("samples/files.ext4.gz");

/// A disk with the file system on it, from some sector on.
fn disk(start: usize) -> FakeDisk {
    let image = unpack(SAMPLE);
    let disk = FakeDisk::new((start + image.len() / 512 + 40) as u64);
    disk.with_bytes(|bytes| bytes[start * 512..][..image.len()].copy_from_slice(&image));
    disk
}

/// Unpacks what `gzip -n` has packed: a head of ten bytes, a tail of eight.
fn unpack(packed: &[u8]) -> Vec<u8> {
    miniz_oxide::inflate::decompress_to_vec(&packed[10..packed.len() - 8]).unwrap()
}

fn bench() -> (Bench, FakeDisk) {
    let disk = disk(0);
    let bench = Bench::new(vec![
        ("vda", Rc::new(FakeDisk::new(64))),
        ("vdb", Rc::new(disk.clone())),
    ]);
    (bench, disk)
}

fn read(bench: &Bench, path: &str) -> Result<Vec<u8>, StorageError> {
    let (storage, path) = (bench.storage.clone(), path.to_string());
    bench.run(async move { storage.read_file(&path, 1 << 20).await })
}

fn list(bench: &Bench, path: &str) -> Vec<FileInfo> {
    let (storage, path) = (bench.storage.clone(), path.to_string());
    bench
        .run(async move { storage.list_dir(&path).await })
        .unwrap()
}

/// The number at the start of a sector of a disk.
fn number(bench: &Bench, disk: &OpenDisk, sector: u64) -> u32 {
    numbers(bench, disk, sector, 1)[0]
}

fn numbers(bench: &Bench, disk: &OpenDisk, sector: u64, count: usize) -> Vec<u32> {
    let memory = memory(&*bench.host, count * 512).unwrap();
    let disk: Rc<dyn Disk> = (**disk).clone();
    let pieces = pieces(&memory, 0, count * 512);
    bench
        .run(async move { perform(&*disk, DiskRequest::Read { sector, pieces }).await })
        .unwrap();
    let mut bytes = vec![0; count * 512];
    memory.copy_from(0, &mut bytes);
    let sectors = bytes.chunks(512);
    sectors
        .map(|sector| u32::from_le_bytes(*sector.first_chunk().unwrap()))
        .collect()
}

#[test]
fn files_are_read_by_every_path_that_leads_to_them() {
    let (bench, _) = bench();
    assert_eq!(read(&bench, "/etc/web.cfg").unwrap(), b"name = \"web\"\n");
    assert_eq!(read(&bench, "dom0:etc/../etc/web.cfg").unwrap().len(), 13);
    let kernel = read(&bench, "/etc/kernel").unwrap();
    assert_eq!(kernel.len(), 601 * 512 - 100);
    for (at, sector) in (1u32..).zip(kernel.chunks(512)) {
        assert_eq!(sector[..4], at.to_le_bytes());
    }
}

#[test]
fn holes_and_what_was_never_written_are_zeros() {
    let (bench, _) = bench();
    let file = read(&bench, "/images/holes.img").unwrap();
    assert_eq!((file[0], file[100 * 512], file[200 * 512]), (1, 0, 1));
    let file = read(&bench, "/images/set-aside.img").unwrap();
    assert_eq!(file, vec![0; 128 << 10]);
}

#[test]
fn directories_are_listed() {
    let (bench, _) = bench();
    let names = |path| -> Vec<String> {
        list(&bench, path)
            .into_iter()
            .map(|info| info.name)
            .collect()
    };
    assert_eq!(names(""), ["boot", "etc", "images", "lost+found"]);
    assert_eq!(names("/etc"), ["kernel", "web.cfg"]);
    assert_eq!(
        list(&bench, "/images/full.img"),
        [FileInfo {
            name: "/images/full.img".into(),
            size: 256 << 10,
            is_dir: false
        }]
    );
}

#[test]
fn the_partition_named_for_it_comes_before_others() {
    let disk = disk(64);
    let end = disk.geometry().sectors - 40;
    write_gpt(&disk, &[("boot", 20, 30), ("radon-data", 64, end)]);
    let bench = Bench::new(vec![
        ("vda", Rc::new(self::disk(0))),
        ("vdb", Rc::new(disk)),
    ]);
    read(&bench, "/etc/web.cfg").unwrap();
    // The file system lies on vdb2: what is on vda is free to be written.
    let _vda = bench.open("vda", Mode::ReadWrite).unwrap();
    read(&bench, "/etc/web.cfg").unwrap();
    let _vdb2 = bench.open("vdb2", Mode::ReadWrite).unwrap();
    let words = read(&bench, "/etc/web.cfg").unwrap_err().to_string();
    assert!(
        words.contains("dom0's file system on vdb is in use by domain web"),
        "{words}"
    );
}

#[test]
fn an_image_is_a_disk_whose_data_lie_in_the_file() {
    let (bench, _) = bench();
    for path in ["/images/full.img", "/images/frag.img"] {
        let image = bench.open(path, Mode::ReadWrite).unwrap();
        let sectors = image.geometry().sectors;
        let all = numbers(&bench, &image, 0, sectors as usize);
        assert!(all.iter().copied().eq(1..=sectors as u32), "{path}");
        bench.fill(&image, 13, 0xee).unwrap();
        assert_eq!(number(&bench, &image, 13), 0xeeee_eeee);
        assert_eq!(bench.fill(&image, sectors, 1), Err(DiskError::OutOfRange));
        drop(image);
        let file = read(&bench, path).unwrap();
        assert_eq!((file[13 * 512], file[14 * 512]), (0xee, 15));
    }
}

#[test]
fn an_image_with_holes_can_be_read_only() {
    let (bench, _) = bench();
    for path in ["/images/holes.img", "/images/set-aside.img"] {
        let words = bench.refusal(path, Mode::ReadWrite);
        assert!(words.contains("it has holes"), "{words}");
    }
    let image = bench.open("/images/holes.img", Mode::ReadOnly).unwrap();
    assert_eq!(numbers(&bench, &image, 15, 3), [16, 0, 0]);
    assert_eq!(numbers(&bench, &image, 199, 3), [0, 1, 2]);
    assert_eq!(bench.fill(&image, 0, 1), Err(DiskError::Unsupported));
}

#[test]
fn an_image_has_one_writer_whatever_its_path() {
    let (bench, _) = bench();
    let image = bench.open("/images/full.img", Mode::ReadWrite).unwrap();
    let words = bench.refusal("dom0:/images/../images/full.img", Mode::ReadOnly);
    assert!(words.contains("is in use by domain web"), "{words}");
    // The file system belongs to dom0 as long as an image of it is open.
    let words = bench.refusal("vdb", Mode::ReadWrite);
    assert!(
        words.contains("in use by dom0, as its file system"),
        "{words}"
    );
    read(&bench, "/etc/web.cfg").unwrap();
    drop(image);
    bench.open("vdb", Mode::ReadWrite).unwrap();
}

#[test]
fn an_image_can_be_the_base_of_volumes() {
    let disk = disk(0);
    let bench = Bench::new(vec![
        ("vda", Rc::new(disk)),
        ("vdb", Rc::new(FakeDisk::new(16384))),
    ]);
    let storage = bench.storage.clone();
    bench
        .run(async move {
            storage.create_pool("p", "vdb", false).await?;
            let base = Some("/images/holes.img");
            storage.create_volume("p/web", None, base).await
        })
        .unwrap();
    let web = bench.open("p/web", Mode::ReadWrite).unwrap();
    assert_eq!(numbers(&bench, &web, 199, 3), [0, 1, 2]);
}

#[test]
fn refusals_say_what_to_do() {
    let (bench, _) = bench();
    for (path, words) in [
        ("/nothing", "`xl ls DIRECTORY` shows what there is"),
        ("/etc", "path is a directory"),
    ] {
        let refusal = read(&bench, path).unwrap_err().to_string();
        assert!(refusal.contains(words), "{refusal}");
    }
    let storage = bench.storage.clone();
    let refusal = bench.run(async move { storage.read_file("/boot/vmlinuz", 100_000).await });
    assert!(refusal.unwrap_err().to_string().contains("longer than"));
    let bench = Bench::new(vec![("vda", Rc::new(FakeDisk::new(64)))]);
    let refusal = read(&bench, "/x").unwrap_err().to_string();
    assert!(refusal.contains("no file system of its own"), "{refusal}");
}

#[test]
fn damage_anywhere_is_an_error_and_no_end_of_dom0() {
    // Each turn damages a few bytes of the metadata, which lie at the start.
    let (_, whole) = bench();
    let image = whole.with_bytes(|bytes| bytes.clone());
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for _ in 0..15 {
        let (bench, disk) = bench();
        disk.with_bytes(|bytes| {
            bytes.copy_from_slice(&image);
            for _ in 0..1 + next(20) {
                let at = [1024 + next(1024), 4096 + next(64), next(700 << 10)][next(3)];
                bytes[at] = next(256) as u8;
            }
        });
        let storage = bench.storage.clone();
        bench.run(async move {
            let _ = storage.list_dir("/images").await;
            let _ = storage.read_file("/etc/kernel", 1 << 20).await;
            let _ = storage.open("/images/frag.img", Mode::ReadWrite, "x").await;
        });
    }
}
