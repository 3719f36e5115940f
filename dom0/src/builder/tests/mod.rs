//! The builder against a hypervisor in memory, with kernels made here byte by byte.

mod files;

use std::borrow::Cow;

use guest_abi::grant_table::GrantEntryV1;
use guest_abi::layout::LayoutError;
use guest_abi::start_info::StartInfo;
use guest_abi::zerocopy::FromBytes;
use guest_abi::{Errno, Pfn};

use super::{Blueprint, BuildError, Built, Kernel, build};
use crate::executor::{Runtime, tests::FakePlatform};
use crate::hypervisor::fake::FakeHypervisor;

/// Where the test kernel's only segment goes.
const LOAD: u64 = 0x10_0000;

/// A note of Xen's.
fn note(kind: u32, value: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4, u32::try_from(value.len()).unwrap(), kind] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    note.extend_from_slice(b"Xen\0");
    note.extend_from_slice(value);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// An ELF kernel with one segment of `code`, and these notes.
pub(crate) fn elf(code: &[u8], notes: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 64 + 2 * 56;
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [LOAD, 64, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&[0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
    let mut header = |kind: u32, offset: usize, length: usize, memory: usize, align: u64| {
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&7_u32.to_le_bytes());
        let numbers = [
            offset as u64,
            LOAD,
            LOAD,
            length as u64,
            memory as u64,
            align,
        ];
        numbers
            .iter()
            .for_each(|number| file.extend_from_slice(&number.to_le_bytes()));
    };
    header(1, HEADERS, code.len(), code.len() + 5000, 4096);
    header(4, HEADERS + code.len(), notes.len(), notes.len(), 4);
    file.extend_from_slice(code);
    file.extend_from_slice(notes);
    file
}

/// A kernel that anybody would boot.
pub(crate) fn good_elf() -> Vec<u8> {
    let notes = [
        note(1, &0xffff_ffff_8010_0040_u64.to_le_bytes()),
        note(3, &0xffff_ffff_8000_0000_u64.to_le_bytes()),
        note(5, b"xen-3.0\0"),
        note(6, b"test\0"),
        note(15, &0x80_0000_0000_u64.to_le_bytes()),
        note(16, &1_u64.to_le_bytes()),
    ];
    elf(&[0x90; 9000], &notes.concat())
}

/// `payload` as the payload of a bzImage.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024 + 0x40];
    file[0..2].copy_from_slice(b"MZ");
    file[0x1f1] = 1;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&0x40_u32.to_le_bytes());
    let length = u32::try_from(payload.len()).unwrap();
    file[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
    file.extend_from_slice(payload);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    file.extend(miniz_oxide::deflate::compress_to_vec(bytes, 6));
    file.extend(crc32fast::hash(bytes).to_le_bytes());
    file.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    file
}

fn build_on(
    hypervisor: &FakeHypervisor,
    memory_mib: u64,
    ramdisk: Option<Vec<u8>>,
) -> Result<Built, BuildError> {
    let runtime = Runtime::new(FakePlatform::default());
    let (handle, hypervisor) = (runtime.clone(), hypervisor.clone());
    runtime.block_on(async move {
        let kernel = Kernel::parse(Cow::Owned(good_elf())).unwrap();
        let blueprint = Blueprint {
            kernel: &kernel,
            ramdisk: ramdisk.as_deref(),
            command_line: "console=hvc0",
            memory_kib: memory_mib * 1024,
            max_memory_kib: memory_mib * 1024,
            vcpus: 2,
            uuid: [7; 16],
        };
        build(&hypervisor, &handle, &blueprint).await
    })
}

#[test]
fn a_built_domain_has_all_it_needs() {
    let hypervisor = FakeHypervisor::new(64);
    let ramdisk = vec![0xab; 5000];
    let built = build_on(&hypervisor, 32, Some(ramdisk.clone())).unwrap();
    let domain = built.domain;
    assert_eq!(hypervisor.read(domain, LOAD, 9000), [0x90; 9000]);
    assert_eq!(hypervisor.read(domain, LOAD + 9000, 100), [0; 100]);
    assert_eq!(
        (built.rings.store_port.get(), built.rings.console_port.get()),
        (1, 2)
    );

    let context = hypervisor.with(domain, |domain| domain.context.take().unwrap());
    let base = 0xffff_ffff_8000_0000;
    let info = hypervisor.read(domain, context.user_regs.rsi - base, 1168);
    let info = StartInfo::read_from_bytes(&info).unwrap();
    assert_eq!(info.cmd_line(), b"console=hvc0");
    assert_eq!(info.nr_pages, 8192);
    assert_eq!(info.store_mfn, built.rings.store_frame);
    assert_eq!(info.mod_len, 5000);
    assert_eq!(hypervisor.read(domain, info.mod_start << 12, 5000), ramdisk);

    // Entry by entry from the root to the page that holds the first instruction.
    let p2m = hypervisor.with(domain, |domain| domain.p2m.clone());
    let pfn_of = |mfn: u64| *p2m.iter().find(|(_, found)| **found == mfn).unwrap().0;
    let root = hypervisor.with(domain, |domain| domain.pinned[0]);
    assert_eq!(context.ctrlreg[3], root.get() << 12);
    let mut table = pfn_of(root.get());
    for shift in [39, 30, 21, 12] {
        let index = context.user_regs.rip >> shift & 511;
        let entry = hypervisor.read(domain, (table << 12) + index * 8, 8);
        let entry = u64::from_le_bytes(entry.try_into().unwrap());
        assert_eq!(entry & 1, 1);
        table = pfn_of(entry >> 12 & 0xff_ffff_ffff);
    }
    assert_eq!(table, LOAD >> 12);

    // The list of frames, and behind its end holes.
    let list = info.first_p2m_pfn.get() << 12;
    let entry = |pfn: u64| hypervisor.read(domain, list + pfn * 8, 8);
    assert_eq!(entry(5), p2m[&5].to_le_bytes());
    assert_eq!(Pfn::new(8191).get(), 8191);
    assert_eq!(entry(8191), p2m[&8191].to_le_bytes());
}

#[test]
fn both_rings_are_granted_to_dom0() {
    let hypervisor = FakeHypervisor::new(64);
    let built = build_on(&hypervisor, 32, None).unwrap();
    let frame = hypervisor.with(built.domain, |domain| domain.grant_frame);
    let table = crate::hypervisor::Hypervisor::map(
        &hypervisor,
        built.domain,
        &[guest_abi::Mfn::new(frame)],
    )
    .unwrap();
    for (index, ring) in [built.rings.console_frame, built.rings.store_frame]
        .iter()
        .enumerate()
    {
        let mut bytes = [0; 8];
        table.read(index * 8, &mut bytes);
        let entry = GrantEntryV1::read_from_bytes(&bytes).unwrap();
        assert_eq!((entry.flags, entry.domid.get()), (1, 0));
        assert_eq!(u64::from(entry.frame), ring.get());
    }
}

#[test]
fn whatever_call_fails_nothing_is_left() {
    for calls in 0.. {
        let hypervisor = FakeHypervisor::new(64);
        let before = hypervisor.books();
        hypervisor.fail_after(calls);
        match build_on(&hypervisor, 16, Some(vec![1; 100])) {
            Ok(_) => {
                assert!(calls > 20, "only {calls} calls were made");
                return;
            }
            Err(error) => {
                assert!(matches!(
                    error,
                    BuildError::Refused {
                        errno: Errno::ENOMEM,
                        ..
                    }
                ));
                assert_eq!(hypervisor.books(), before, "after {calls} calls: {error}");
            }
        }
    }
}

#[test]
fn too_much_memory_says_how_much_is_free_and_how_much_was_asked() {
    let hypervisor = FakeHypervisor::new(20);
    let error = build_on(&hypervisor, 64, None).unwrap_err();
    assert_eq!(
        error,
        BuildError::NotEnoughMemory {
            free_kib: 20 * 1024,
            asked_kib: 64 * 1024
        }
    );
    assert!(error.to_string().contains("64 MiB asked for, 20 MiB free"));
}

#[test]
fn too_little_memory_for_the_kernel_says_how_much_it_needs() {
    let error = build_on(&FakeHypervisor::new(64), 1, None).unwrap_err();
    assert!(matches!(
        error,
        BuildError::Layout(LayoutError::TooSmall { .. })
    ));
    assert!(error.to_string().contains("needs at least"), "{error}");
}
