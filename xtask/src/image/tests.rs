//! The image tools on a tiny ELF made by hand.

use super::{flatten, strip};

const HEADER: usize = 64;
const SEGMENT: usize = 56;

/// An ELF64 with loadable segments (virtual address, physical address, bytes, size in memory), and
/// some bytes behind them that nobody loads.
fn elf(segments: &[(u64, u64, &[u8], u64)]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + SEGMENT * segments.len()];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(16, &2_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(20, &1_u32.to_le_bytes());
    put(32, &(HEADER as u64).to_le_bytes());
    put(52, &(HEADER as u16).to_le_bytes());
    put(54, &(SEGMENT as u16).to_le_bytes());
    put(56, &(segments.len() as u16).to_le_bytes());
    let mut data = Vec::new();
    let start = HEADER + SEGMENT * segments.len();
    for (number, (vaddr, paddr, contents, memory)) in segments.iter().enumerate() {
        let at = HEADER + SEGMENT * number;
        put(at, &1_u32.to_le_bytes());
        let offset = (start + data.len()) as u64;
        let fields = [offset, *vaddr, *paddr, contents.len() as u64, *memory, 1];
        for (field, value) in fields.iter().enumerate() {
            put(at + 8 + 8 * field, &value.to_le_bytes());
        }
        data.extend_from_slice(contents);
    }
    bytes.extend(data);
    bytes.extend(b"debug information");
    bytes
}

#[test]
fn segments_lie_at_their_physical_distance_and_memory_is_zeroed() {
    let program = elf(&[
        (0x5000, 0x20_1000, b"data", 0x10),
        (0x4000, 0x20_0000, b"text", 4),
    ]);
    let image = flatten(&program).unwrap();
    assert_eq!(image.len(), 0x2000);
    assert_eq!(&image[..8], b"text\0\0\0\0");
    assert_eq!(&image[0x1000..0x1008], b"data\0\0\0\0");
}

#[test]
fn segments_beyond_reason_are_refused() {
    assert!(flatten(&elf(&[(0, 0, b"a", 1), (0, 1 << 40, b"b", 1)])).is_err());
    assert!(flatten(&elf(&[])).is_err());
    assert!(flatten(b"no program at all").is_err());
}

#[test]
fn a_stripped_program_still_loads_the_same() {
    let program = elf(&[(0x4000, 0x20_0000, b"text", 4)]);
    let stripped = strip(&program).unwrap();
    assert!(stripped.ends_with(b"text"));
    assert_eq!(flatten(&stripped).unwrap(), flatten(&program).unwrap());
}
