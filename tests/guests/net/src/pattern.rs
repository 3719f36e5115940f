//! Bytes that tell where in a stream they belong: lost, doubled and exchanged ones are noticed.

/// The word at a multiple of eight.
fn word(index: u64) -> [u8; 8] {
    index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

/// How many of the first bytes come before a multiple of eight.
fn head(from: u64, len: usize) -> usize {
    let odd = from.wrapping_neg() % 8;
    usize::try_from(odd).unwrap_or(0).min(len)
}

fn byte(at: u64) -> u8 {
    word(at / 8)[usize::try_from(at % 8).unwrap_or(0)]
}

/// Writes the bytes of a stream from a place on.
pub(crate) fn fill(from: u64, bytes: &mut [u8]) {
    let (head, whole) = bytes.split_at_mut(head(from, bytes.len()));
    for (at, to) in (from..).zip(head) {
        *to = byte(at);
    }
    let (words, tail) = whole.as_chunks_mut();
    let mut index = from.div_ceil(8);
    for to in words {
        *to = word(index);
        index += 1;
    }
    tail.copy_from_slice(&word(index)[..tail.len()]);
}

/// Whether these are the bytes of a stream from a place on.
pub(crate) fn fits(from: u64, bytes: &[u8]) -> bool {
    let (head, whole) = bytes.split_at(head(from, bytes.len()));
    let (words, tail) = whole.as_chunks();
    let mut index = from.div_ceil(8);
    let mut fit = (from..).zip(head).all(|(at, &have)| have == byte(at));
    for have in words {
        fit &= *have == word(index);
        index += 1;
    }
    fit && *tail == word(index)[..tail.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_be_written_and_read_in_any_pieces() {
        let mut whole = [0; 100];
        fill(0, &mut whole);
        for (from, to) in [(0, 0), (0, 1), (3, 5), (1, 100), (8, 16), (7, 90)] {
            let mut piece = vec![0; to - from];
            fill(from as u64, &mut piece);
            assert_eq!(piece, whole[from..to]);
            assert!(fits(from as u64, &piece));
        }
    }

    #[test]
    fn what_is_lost_or_changed_is_noticed() {
        let mut whole = [0; 100];
        fill(5, &mut whole);
        assert!(!fits(6, &whole) && !fits(5 + 65_536, &whole) && !fits(5, &whole[1..]));
        for at in [0, 2, 3, 50, 99] {
            let mut changed = whole;
            changed[at] ^= 1;
            assert!(!fits(5, &changed));
        }
    }
}
