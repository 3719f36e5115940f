//! What a guest reads from its rings.

use alloc::vec::Vec;

use guest_abi::io::netif::RxFlags;

use super::guest::Guest;
use crate::host::SharedPage;

/// A packet that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Got {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Flags of its first response.
    pub flags: RxFlags,
    /// Segmentation: size and type.
    pub gso: Option<(u16, u8)>,
    /// Buffers it took.
    pub buffers: usize,
    /// A part of it did not arrive.
    pub failed: bool,
}

impl Got {
    /// Slots of the ring it took.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.buffers + usize::from(self.gso.is_some())
    }
}

impl Guest {
    /// Reads responses whatever they say; how many.
    pub fn receive_anything(&mut self) -> usize {
        core::iter::from_fn(|| self.rx.pop()).take(1000).count()
    }

    /// The answers to what was sent: identifier and status.
    pub fn answers(&mut self) -> Vec<(u16, i16)> {
        let mut answers = Vec::new();
        while let Some(bytes) = self.tx.pop() {
            let half = |at: usize| [bytes[at], bytes[at + 1]];
            answers.push((u16::from_le_bytes(half(0)), i16::from_le_bytes(half(2))));
        }
        answers
    }

    /// The packets that came.
    ///
    /// # Panics
    ///
    /// When what the backend says makes no sense.
    pub fn receive(&mut self) -> Vec<Got> {
        let mut packets = Vec::new();
        while let Some(first) = self.rx.pop() {
            packets.push(self.packet(first));
        }
        packets
    }

    fn packet(&mut self, first: [u8; 8]) -> Got {
        let half = |bytes: [u8; 8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let flags = |bytes| RxFlags::from_bits_retain(half(bytes, 4));
        let mut got = Got {
            bytes: Vec::new(),
            flags: flags(first),
            gso: None,
            buffers: 0,
            failed: false,
        };
        let mut response = first;
        loop {
            let slot = self.rx.consumed.wrapping_sub(1) % 256;
            assert_eq!(u32::from(half(response, 0)), slot, "answered in order");
            let (offset, status) = (half(response, 2), half(response, 6).cast_signed());
            match usize::try_from(status) {
                Ok(len) => {
                    let mut bytes = alloc::vec![0; len];
                    let page = &self.buffers[slot as usize].1;
                    page.copy_from(offset.into(), &mut bytes);
                    got.bytes.extend(bytes);
                }
                Err(_) => got.failed = true,
            }
            got.buffers += 1;
            let more = flags(response).contains(RxFlags::MORE_DATA);
            if got.buffers == 1 && got.flags.contains(RxFlags::EXTRA_INFO) {
                let extra = self.rx.pop().expect("an extra slot");
                assert_eq!(extra[..2], [1, 0]);
                let size = half(extra, 2);
                got.gso = Some((size, extra[4]));
            }
            if !more {
                return got;
            }
            response = self.rx.pop().expect("the rest of the packet");
        }
    }
}
