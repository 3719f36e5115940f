//! The same text, packed by each format's own program (`samples/`), must come out again; cut or
//! changed anywhere it must not, and nothing may panic.

use super::{DecompressError, Format, decompress};
use crate::executor::{Runtime, tests::FakePlatform};

const SAMPLES: [(Format, &[u8]); 6] = [
    (Format::Gzip, include_bytes!("samples/text.gz")),
    (Format::Bzip2, include_bytes!("samples/text.bz2")),
    (Format::Lzma, include_bytes!("samples/text.lzma")),
    (Format::Xz, include_bytes!("samples/text.xz")),
    (Format::Lz4, include_bytes!("samples/text.lz4")),
    (Format::Zstd, include_bytes!("samples/text.zst")),
];

fn text() -> Vec<u8> {
    let mut text = Vec::new();
    for n in 0..400_u32 {
        let line = format!("Radon {} is a noble gas and a hypervisor.\n", n * n % 97);
        text.extend_from_slice(line.as_bytes());
    }
    text.extend_from_slice(&[b'a'; 700]);
    text.extend(0..=255_u8);
    text
}

fn unpack(format: Format, input: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let runtime = Runtime::new(FakePlatform::default());
    let (handle, input) = (runtime.clone(), input.to_vec());
    runtime.block_on(async move { decompress(&handle, format, &input, 0, limit).await })
}

#[test]
fn every_format_is_recognised_and_unpacked() {
    for (format, packed) in SAMPLES {
        assert_eq!(Format::detect(packed), Some(format));
        assert_eq!(
            unpack(format, packed, 1 << 16).as_ref(),
            Ok(&text()),
            "{format}"
        );
    }
    assert_eq!(Format::detect(b"\x7fELF"), None);
}

#[test]
fn the_length_behind_a_kernels_payload_does_no_harm() {
    for (format, packed) in SAMPLES {
        let with_trailer = [packed, &17691_u32.to_le_bytes()].concat();
        assert_eq!(
            unpack(format, &with_trailer, 1 << 16).as_ref(),
            Ok(&text()),
            "{format}"
        );
    }
}

#[test]
fn an_end_cut_off_is_noticed() {
    for (format, packed) in SAMPLES {
        for cut in [packed.len() / 2, packed.len() - 12] {
            let result = unpack(format, &packed[..cut], 1 << 16);
            assert_eq!(result, Err(DecompressError::Truncated), "{format} at {cut}");
        }
    }
}

#[test]
fn no_flipped_bit_makes_it_panic_or_passes_a_checksum() {
    for (format, packed) in SAMPLES {
        let has_checksum = !matches!(format, Format::Lzma | Format::Lz4);
        for position in (4..packed.len()).step_by(17) {
            let mut bad = packed.to_vec();
            bad[position] ^= 0x10;
            let result = unpack(format, &bad, 1 << 16);
            assert!(
                !has_checksum || result.is_err() || result == Ok(text()),
                "{format} at {position}"
            );
        }
    }
}

#[test]
fn what_unpacks_to_too_much_is_stopped_on_the_way() {
    for (format, packed) in SAMPLES {
        let result = unpack(format, packed, 10_000);
        assert_eq!(
            result,
            Err(DecompressError::TooLong { limit: 10_000 }),
            "{format}"
        );
    }
}

#[test]
fn a_window_beyond_all_reason_is_refused_before_memory_is_taken() {
    let zstd = b"\x28\xb5\x2f\xfd\x00\xf8\x00\x00\x00";
    assert_eq!(
        unpack(Format::Zstd, zstd, 1 << 16),
        Err(DecompressError::OutOfMemory)
    );
    let lzma = b"\x5d\x00\x00\x00\x40\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00";
    assert_eq!(
        unpack(Format::Lzma, lzma, 1 << 16),
        Err(DecompressError::OutOfMemory)
    );
    // A block header whose dictionary is 2 GiB.
    let mut xz = SAMPLES[3].1.to_vec();
    let block = xz[12..24].to_vec();
    let size = block
        .iter()
        .rposition(|&byte| byte == 16)
        .expect("a dictionary of 1 MiB");
    xz[12 + size] = 38;
    let crc = crc32fast::hash(&xz[12..20]);
    xz[20..24].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(
        unpack(Format::Xz, &xz, 1 << 16),
        Err(DecompressError::OutOfMemory)
    );
}
