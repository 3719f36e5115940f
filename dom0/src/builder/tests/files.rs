//! What is made of kernel and ramdisk files, good and bad.

use std::borrow::Cow;

use super::super::decompress::{DecompressError, Format};
use super::super::identify::{Kind, identify};
use super::super::ramdisk::{self, RamdiskError};
use super::super::{Kernel, KernelError};
use super::{LOAD, bzimage, elf, good_elf, gzip, note};
use crate::executor::{Runtime, tests::FakePlatform};

/// What reading a kernel file comes to: its entry, or the refusal.
fn read(file: &[u8]) -> Result<u64, KernelError> {
    let runtime = Runtime::new(FakePlatform::default());
    let (handle, file) = (runtime.clone(), file.to_vec());
    runtime.block_on(async move { Kernel::read(&handle, &file).await.map(|k| k.entry.get()) })
}

#[test]
fn elf_gzip_and_bzimage_are_the_same_kernel() {
    let plain = good_elf();
    let packed = gzip(&plain);
    for file in [
        plain.clone(),
        packed.clone(),
        bzimage(&packed),
        bzimage(&plain),
    ] {
        assert_eq!(read(&file), Ok(0xffff_ffff_8010_0040));
    }
}

#[test]
fn without_notes_about_addresses_base_is_zero_and_the_elf_says_where_to_start() {
    let kernel = Kernel::parse(Cow::Owned(elf(&[0; 64], &note(5, b"xen-3.0\0")))).unwrap();
    assert_eq!((kernel.virt_base.get(), kernel.entry.get()), (0, LOAD));
    assert_eq!((kernel.start, kernel.end), (LOAD, LOAD + 5064));
}

#[test]
fn files_that_are_no_kernel_are_called_by_their_name() {
    let mut multiboot = elf(&[0; 128], b"");
    multiboot[240..244].copy_from_slice(&0x1bad_b002_u32.to_le_bytes());
    let mut elf32 = good_elf();
    elf32[4] = 1;
    let linux = elf(b"Linux version 6.1.0 (x)", b"");
    let mut disk = vec![0; 2048];
    disk[510..512].copy_from_slice(b"\x55\xaa");
    for (file, kind) in [
        (Vec::new(), Kind::Empty),
        (linux.clone(), Kind::LinuxWithoutXen),
        (bzimage(&gzip(&linux)), Kind::LinuxWithoutXen),
        (multiboot, Kind::Multiboot),
        (elf32, Kind::Elf32),
        (elf(b"something", b""), Kind::Elf),
        (disk, Kind::Disk),
        (b"QFI\xfb\0\0\0\x03".to_vec(), Kind::Disk),
        (b"070701000".to_vec(), Kind::Cpio),
        (b"#!/bin/sh\n".to_vec(), Kind::Text),
        (b"MZ\x90\0".to_vec(), Kind::Efi),
        (gzip(b"a text"), Kind::Text),
        (vec![1, 2, 3], Kind::Unknown),
    ] {
        assert_eq!(read(&file), Err(KernelError::NotCapable(kind)), "{kind}");
    }
    assert_eq!(identify(&gzip(b"x")), Kind::Packed(Format::Gzip));
}

#[test]
fn a_kernel_cut_off_anywhere_is_refused() {
    let plain = good_elf();
    let image = bzimage(&gzip(&plain));
    for file in [&plain, &image] {
        for length in (1..file.len()).step_by(13) {
            assert!(read(&file[..length]).is_err(), "{length} of {}", file.len());
        }
    }
    assert!(matches!(
        read(&plain[..5000]),
        Err(KernelError::Truncated(_))
    ));
    assert!(matches!(
        read(&image[..1100]),
        Err(KernelError::Truncated(_))
    ));
}

#[test]
fn no_changed_byte_makes_the_parser_panic() {
    let plain = good_elf();
    for position in (0..240).chain(9160..plain.len()) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut file = plain.clone();
            file[position] = value;
            let _ = read(&file);
        }
    }
}

#[test]
fn a_corrupt_payload_names_its_packing() {
    let mut packed = gzip(&good_elf());
    let middle = packed.len() - 6;
    packed[middle] ^= 0xff;
    let expected = KernelError::Packed(Format::Gzip, DecompressError::Corrupt);
    assert_eq!(read(&bzimage(&packed)), Err(expected));
    assert!(expected.to_string().contains("gzip"));
}

#[test]
fn features_that_no_guest_gets_are_refused() {
    let notes = [
        note(5, b"xen-3.0\0"),
        note(10, b"!auto_translated_physmap|x\0"),
    ]
    .concat();
    let error = Kernel::parse(Cow::Owned(elf(&[0; 64], &notes))).unwrap_err();
    assert_eq!(error, KernelError::Demands("auto_translated_physmap"));
}

#[test]
fn ramdisks_are_looked_at() {
    let check = |bytes: Vec<u8>| {
        let runtime = Runtime::new(FakePlatform::default());
        let handle = runtime.clone();
        runtime.block_on(async move { ramdisk::check(&handle, &bytes).await })
    };
    let member = |name: &str, data: &[u8]| {
        let mut member = b"070701".to_vec();
        let sizes = [0, 0, 0, 0, 0, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
        sizes
            .iter()
            .for_each(|size| member.extend(format!("{size:08x}").bytes()));
        member.extend(name.bytes().chain([0]));
        member.resize(member.len().next_multiple_of(4), 0);
        member.extend(data);
        member.resize(member.len().next_multiple_of(4), 0);
        member
    };
    let archive = [member("init", b"#!/bin/sh"), member("TRAILER!!!", b"")].concat();
    let packed = gzip(&archive);
    assert_eq!(check(archive.clone()), Ok(()));
    assert_eq!(check(packed.clone()), Ok(()));
    assert_eq!(
        check([archive.clone(), vec![0; 512], packed.clone()].concat()),
        Ok(())
    );
    assert_eq!(check(b"anything else".to_vec()), Ok(()));
    assert_eq!(check(Vec::new()), Err(RamdiskError::Empty));
    assert_eq!(
        check(archive[..archive.len() - 20].to_vec()),
        Err(RamdiskError::Truncated)
    );
    assert_eq!(
        check(packed[..packed.len() / 2].to_vec()),
        Err(RamdiskError::Truncated)
    );
    let mut broken = archive;
    broken[124] = b'x';
    broken[60] = b'z';
    assert_eq!(check(broken), Err(RamdiskError::Corrupt));
}

/// By hand: `RADON_KERNEL=/boot/vmlinuz-… cargo test -p dom0 --release a_real_kernel`.
#[test]
fn a_real_kernel_is_read_if_one_is_given() {
    let Ok(path) = std::env::var("RADON_KERNEL") else {
        return;
    };
    let file = std::fs::read(path).unwrap();
    let runtime = Runtime::new(FakePlatform::default());
    let handle = runtime.clone();
    runtime.block_on(async move {
        let kernel = Kernel::read(&handle, &file).await.unwrap();
        println!(
            "{}: entry {}, base {}, {:#x}..{:#x}, p2m {:?}, {} bytes",
            kernel.guest_os,
            kernel.entry,
            kernel.virt_base,
            kernel.start,
            kernel.end,
            kernel.init_p2m,
            kernel.image.len()
        );
    });
}
