//! Reading what firmware and loader left in memory.
//!
//! The parsers of this folder see physical memory through [`PhysRead`] only: in tests it is a
//! vector, on the machine the direct map.

/// Machine memory, read by copying.
pub trait PhysRead {
    /// Copies the bytes from physical address `at` on; says whether all of them lie in memory.
    fn read(&self, at: u64, into: &mut [u8]) -> bool;

    /// The bytes at `at`, as an array.
    fn array<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(at, &mut bytes).then_some(bytes)
    }

    /// The byte at `at`.
    fn u8(&self, at: u64) -> Option<u8> {
        self.array(at).map(u8::from_le_bytes)
    }

    /// The 16-bit number at `at`.
    fn u16(&self, at: u64) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// The 32-bit number at `at`.
    fn u32(&self, at: u64) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// The 64-bit number at `at`.
    fn u64(&self, at: u64) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// The zero-terminated text at `at`, cut where it is no ASCII or longer than `N` bytes.
    fn text<const N: usize>(&self, at: u64) -> heapless::String<N> {
        let mut text = heapless::String::new();
        for offset in 0..N as u64 {
            let byte = at.checked_add(offset).and_then(|at| self.u8(at));
            match byte {
                Some(byte @ 1..=0x7f) if text.push(char::from(byte)).is_ok() => {}
                _ => break,
            }
        }
        text
    }
}

#[cfg(test)]
impl PhysRead for Vec<u8> {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let at = usize::try_from(at).unwrap();
        match self.get(at..at + into.len()) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PhysRead;

    #[test]
    fn text_ends_at_its_zero_or_at_the_limit() {
        let memory = b"..hello\0world".to_vec();
        assert_eq!(memory.text::<16>(2), "hello");
        assert_eq!(memory.text::<3>(2), "hel");
        assert_eq!(memory.text::<16>(8), "world");
    }
}
