//! The Internet checksum.
//!
//! Sums are kept in the order in which the bytes lie in memory: the ones' complement sum doesn't
//! care, as long as the result is stored the same way.

/// A running sum over bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::netback) struct Sum {
    total: u64,
    /// An odd number of bytes came so far: the next one is the second half of a word.
    odd: bool,
}

impl Sum {
    /// Adds bytes behind those added so far.
    pub(in crate::netback) fn add(&mut self, bytes: &[u8]) {
        let total = sum(bytes);
        self.join(Self {
            total,
            odd: bytes.len() % 2 == 1,
        });
    }

    /// Adds a number as it goes over the wire, in four bytes.
    pub(in crate::netback) fn add_u32(&mut self, number: u32) {
        self.join(Self {
            total: u32::from_le_bytes(number.to_be_bytes()).into(),
            odd: false,
        });
    }

    /// Adds the sum of the bytes that come next.
    pub(in crate::netback) fn join(&mut self, next: Self) {
        // In a word's other half, every byte counts as its neighbour would.
        let total = if self.odd {
            u64::from(fold(next.total).swap_bytes())
        } else {
            next.total
        };
        self.total = add(self.total, total);
        self.odd ^= next.odd;
    }

    /// The checksum, as it is stored.
    pub(in crate::netback) fn finish(self) -> [u8; 2] {
        (!fold(self.total)).to_le_bytes()
    }
}

/// Adds with the carry put back in.
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(u64::from(carry))
}

/// Most bytes come in long runs, whose words are added in blocks: each hands its carry to the next,
/// an instruction a word. Headers are short, and made of words, halves and quarters.
fn sum(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut total = blocks.iter().fold(0, add_block);
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        total = add(total, u64::from_le_bytes(*word));
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        total = add(total, u32::from_le_bytes(*half).into());
    }
    let (quarters, rest) = rest.as_chunks::<2>();
    for quarter in quarters {
        total = add(total, u16::from_le_bytes(*quarter).into());
    }
    add(total, rest.first().map_or(0, |last| u64::from(*last)))
}

fn add_block(mut total: u64, block: &[u8; 64]) -> u64 {
    let mut carry = false;
    for word in block.as_chunks::<8>().0 {
        (total, carry) = total.carrying_add(u64::from_le_bytes(*word), carry);
    }
    add(total, carry.into())
}

fn fold(total: u64) -> u16 {
    let mut total = total;
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "16 bits are left")]
    let folded = total as u16;
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// As RFC 1071 tells it.
    fn model(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!u16::try_from(sum).unwrap()).to_be_bytes()
    }

    proptest! {
        #[test]
        fn any_bytes_cut_anywhere_sum_up_as_the_rfc_says(
            bytes: Vec<u8>,
            cuts in proptest::collection::vec(0_usize..100, 0..5),
        ) {
            let mut sum = Sum::default();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (part, behind) = rest.split_at(cut.min(rest.len()));
                sum.add(part);
                rest = behind;
            }
            let mut last = Sum::default();
            last.add(rest);
            sum.join(last);
            prop_assert_eq!(sum.finish(), model(&bytes));
        }
    }

    #[test]
    fn a_number_counts_as_its_bytes() {
        let mut sum = Sum::default();
        sum.add(&[7]);
        sum.add_u32(0x0102_fffe);
        assert_eq!(sum.finish(), model(&[7, 1, 2, 0xff, 0xfe]));
    }

    #[test]
    fn carries_are_not_lost() {
        let bytes = [0xff; 4096];
        let mut sum = Sum::default();
        sum.add(&bytes);
        assert_eq!(sum.finish(), model(&bytes));
    }
}
