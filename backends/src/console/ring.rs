//! The console ring page: 1,024 bytes to the guest, 2,048 bytes from it.

use crate::host::{SharedPage, full_barrier};
use alloc::collections::VecDeque;
use core::fmt;
use core::mem::offset_of;
use guest_abi::io::console::{ConsoleRing as Page, IN_SIZE, OUT_SIZE};

const IN: usize = offset_of!(Page, input);
const OUT: usize = offset_of!(Page, output);
const IN_CONS: usize = offset_of!(Page, in_cons);
const IN_PROD: usize = offset_of!(Page, in_prod);
const OUT_CONS: usize = offset_of!(Page, out_cons);
const OUT_PROD: usize = offset_of!(Page, out_prod);

/// An index of the guest's that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingError {
    name: &'static str,
    guest: u32,
    ours: u32,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, guest, ours } = self;
        write!(
            f,
            "the guest set {name} to {guest:#x}, too far from {ours:#x}"
        )
    }
}

impl core::error::Error for RingError {}

/// The backend's end. Our own indices are kept here and only published in the page.
#[derive(Debug)]
pub struct ConsoleRing<P> {
    page: P,
    in_prod: u32,
    out_cons: u32,
}

impl<P: SharedPage> ConsoleRing<P> {
    /// Starts on a ring page; where the indices stand now is where we begin.
    pub fn new(page: P) -> Self {
        let (in_prod, out_cons) = (page.load_u32(IN_PROD), page.load_u32(OUT_CONS));
        Self {
            page,
            in_prod,
            out_cons,
        }
    }

    /// Takes what the guest printed; returns how many bytes.
    pub fn take_output(&mut self, buffer: &mut [u8; OUT_SIZE]) -> Result<usize, RingError> {
        let out_prod = self.page.load_u32(OUT_PROD);
        let used = out_prod.wrapping_sub(self.out_cons);
        let count = bounded("out_prod", out_prod, self.out_cons, used, OUT_SIZE)?;
        full_barrier();
        let start = offset(self.out_cons, OUT_SIZE);
        let first = count.min(OUT_SIZE - start);
        let (before, after) = buffer.split_at_mut(first);
        self.page.copy_from(OUT + start, before);
        self.page
            .copy_from(OUT, after.get_mut(..count - first).unwrap_or_default());
        full_barrier();
        self.out_cons = out_prod;
        self.page.store_u32(OUT_CONS, self.out_cons);
        full_barrier();
        Ok(count)
    }

    /// Gives the guest as much of `typed` as its ring takes; returns how many bytes.
    pub fn give_input(&mut self, typed: &mut VecDeque<u8>) -> Result<usize, RingError> {
        let in_cons = self.page.load_u32(IN_CONS);
        let used = self.in_prod.wrapping_sub(in_cons);
        let room = IN_SIZE - bounded("in_cons", in_cons, self.in_prod, used, IN_SIZE)?;
        full_barrier();
        let count = typed.len().min(room);
        for byte in typed.drain(..count) {
            self.page
                .copy_to(IN + offset(self.in_prod, IN_SIZE), &[byte]);
            self.in_prod = self.in_prod.wrapping_add(1);
        }
        full_barrier();
        self.page.store_u32(IN_PROD, self.in_prod);
        full_barrier();
        Ok(count)
    }
}

fn bounded(
    name: &'static str,
    guest: u32,
    ours: u32,
    distance: u32,
    size: usize,
) -> Result<usize, RingError> {
    match usize::try_from(distance) {
        Ok(distance) if distance <= size => Ok(distance),
        _ => Err(RingError { name, guest, ours }),
    }
}

fn offset(position: u32, size: usize) -> usize {
    usize::try_from(position).unwrap_or(0) % size
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::fake::FakePage;

    /// A guest's end of the ring.
    pub(in crate::console) struct Guest {
        page: FakePage,
        out_prod: u32,
        in_cons: u32,
    }

    impl Guest {
        pub(in crate::console) fn new(page: FakePage) -> Self {
            Self {
                page,
                out_prod: 0,
                in_cons: 0,
            }
        }

        /// Starts both rings at an index, e.g. just before it wraps.
        fn at(page: FakePage, index: u32) -> Self {
            let offsets = [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD];
            offsets
                .iter()
                .for_each(|&offset| page.store_u32(offset, index));
            Self {
                page,
                out_prod: index,
                in_cons: index,
            }
        }

        pub(in crate::console) fn print(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.page
                    .copy_to(OUT + offset(self.out_prod, OUT_SIZE), &[*byte]);
                self.out_prod = self.out_prod.wrapping_add(1);
            }
            self.page.store_u32(OUT_PROD, self.out_prod);
        }

        pub(in crate::console) fn jump_out_prod(&mut self, by: u32) {
            self.page
                .store_u32(OUT_PROD, self.out_prod.wrapping_add(by));
        }

        fn read(&mut self) -> Vec<u8> {
            let mut bytes = Vec::new();
            while self.in_cons != self.page.load_u32(IN_PROD) {
                let mut byte = [0];
                self.page
                    .copy_from(IN + offset(self.in_cons, IN_SIZE), &mut byte);
                bytes.push(byte[0]);
                self.in_cons = self.in_cons.wrapping_add(1);
            }
            self.page.store_u32(IN_CONS, self.in_cons);
            bytes
        }
    }

    #[test]
    fn bytes_pass_both_ways_across_every_wrap() {
        let page = FakePage::new();
        let mut guest = Guest::at(page.clone(), u32::MAX - 1500);
        let mut ring = ConsoleRing::new(page);
        for round in 0..50_usize {
            let text: Vec<u8> = (0..100)
                .map(|n| u8::try_from((round + n) % 256).unwrap())
                .collect();
            guest.print(&text);
            let mut buffer = [0; OUT_SIZE];
            assert_eq!(ring.take_output(&mut buffer), Ok(100));
            assert_eq!(buffer[..100], text);
            let mut typed = text.iter().copied().collect();
            assert_eq!(ring.give_input(&mut typed), Ok(100));
            assert_eq!(guest.read(), text);
        }
    }

    #[test]
    fn a_full_ring_is_legal_and_one_byte_more_is_not() {
        let page = FakePage::new();
        let mut guest = Guest::new(page.clone());
        let mut ring = ConsoleRing::new(page);
        guest.print(&[b'x'; OUT_SIZE]);
        let mut buffer = [0; OUT_SIZE];
        assert_eq!(ring.take_output(&mut buffer), Ok(OUT_SIZE));
        guest.print(&[b'x'; OUT_SIZE + 1]);
        assert!(ring.take_output(&mut buffer).is_err());
    }
}
