//! Files on real FATs, made by `mkfs.vfat` and `mcopy`, the last one cut short; label `RADON-DATA`:
//!
//! ```text
//!   /WEB.CFG  /hello.cfg  /empty
//!   /Guests/A rather long name.img   100 KiB; its start is strewn, each sector has its number
//! ```

use std::rc::Rc;

use backends::host::fake::FakeDisk;

use super::tests::{list, numbers, read, unpack};
use crate::storage::Mode;
use crate::storage::tests::Bench;

const SAMPLES: [&[u8]; 3] = [
    include_bytes!("samples/fat12.gz"),
    include_bytes!("samples/fat16.gz"),
    include_bytes!("samples/fat32.gz"),
];
const IMAGE: &str = "/Guests/A rather long name.img";

fn bench(sample: &[u8]) -> (Bench, FakeDisk) {
    let image = unpack(sample);
    let disk = FakeDisk::new((image.len() / 512) as u64);
    disk.with_bytes(|bytes| bytes.copy_from_slice(&image));
    (Bench::new(vec![("vda", Rc::new(disk.clone()))]), disk)
}

#[test]
fn files_are_found_by_name_whatever_the_case() {
    for sample in SAMPLES {
        let (bench, _) = bench(sample);
        for path in ["/web.cfg", "HELLO.cfg", "/guests/../Hello.CFG"] {
            assert_eq!(read(&bench, path).unwrap(), b"name = \"web\"\n", "{path}");
        }
        assert_eq!(read(&bench, "/empty").unwrap(), b"");
        let image = read(&bench, IMAGE).unwrap();
        assert_eq!(image.len(), 200 * 512);
        for (number, sector) in (1u32..).zip(image.chunks(512)) {
            assert_eq!(sector[..4], number.to_le_bytes());
        }
    }
}

#[test]
fn directories_show_long_names() {
    for sample in SAMPLES {
        let (bench, _) = bench(sample);
        let names = |path| -> Vec<String> {
            let files = list(&bench, path).into_iter();
            files.map(|info| info.name).collect()
        };
        assert_eq!(names("/"), ["Guests", "WEB.CFG", "empty", "hello.cfg"]);
        assert_eq!(names("/guests"), ["A rather long name.img"]);
    }
}

#[test]
fn an_image_is_a_disk() {
    for sample in SAMPLES {
        let (bench, _) = bench(sample);
        let image = bench.open(IMAGE, Mode::ReadWrite).unwrap();
        assert!(numbers(&bench, &image, 0, 200).into_iter().eq(1..=200));
        bench.fill(&image, 3, 0xee).unwrap();
        let words = bench.refusal("/GUESTS/a rather long name.img", Mode::ReadOnly);
        assert!(words.contains("in use by domain web"), "{words}");
        drop(image);
        assert_eq!(read(&bench, IMAGE).unwrap()[3 * 512], 0xee);
    }
}

#[test]
fn what_is_not_there_is_missed() {
    let (bench, _) = bench(SAMPLES[0]);
    for (path, words) in [
        ("/nothing", "no such file"),
        ("/web.cfg/x", "path is not a directory"),
        ("/guests", "path is a directory"),
    ] {
        let refusal = read(&bench, path).unwrap_err().to_string();
        assert!(refusal.contains(words), "{refusal}");
    }
}

#[test]
fn damage_anywhere_is_an_error_and_no_end_of_dom0() {
    let mut state = 7u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for turn in 0..150 {
        let (bench, disk) = bench(SAMPLES[turn % 3]);
        disk.with_bytes(|bytes| {
            for _ in 0..1 + next(30) {
                let at = [next(96), next(40 << 10)][next(2)];
                bytes[at] = next(256) as u8;
            }
        });
        let storage = bench.storage.clone();
        bench.run(async move {
            let _ = storage.list_dir("/Guests").await;
            let _ = storage.read_file(IMAGE, 1 << 20).await;
            let _ = storage.open(IMAGE, Mode::ReadWrite, "x").await;
        });
    }
}
