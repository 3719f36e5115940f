//! Telling a card what to receive. Virtio 1.2, 5.1.6.5.
//!
//! A card may keep to frames for its own address; the guests behind it have others. One command is
//! sent at the start, and nothing waits for the answer.

use guest_abi::Errno;

use crate::drivers::chains::Chains;
use crate::drivers::dma::DmaPage;
use crate::drivers::ring::{Ring, Segment};

/// The command: class "receive", number "promiscuous"; then one byte: yes.
const PROMISCUOUS: u16 = 0;
const YES: u16 = 1;
const COMMAND_BYTES: u32 = 3;
/// Where the answer comes to lie in the slot, and what a good one is.
const ANSWER: usize = 16;
const GOOD: u8 = 0;

/// The control queue.
#[derive(Debug)]
pub(super) struct Control<M> {
    chains: Chains<M>,
}

impl<M: DmaPage> Control<M> {
    /// A queue of one command: that the card is to take every frame, whoever it is for.
    pub(super) fn take_all() -> Result<Self, Errno> {
        let mut chains: Chains<M> = Chains::new(1)?;
        let mut chain = chains.begin(2).ok_or(Errno::ENOMEM)?;
        let (page, offset, address) = chains.scratch(chain.slot()).ok_or(Errno::ENOMEM)?;
        page.store_u16(offset, PROMISCUOUS);
        page.store_u16(offset + 2, YES);
        page.store_u16(offset + ANSWER, u16::MAX);
        let command = Segment {
            address,
            len: COMMAND_BYTES,
            device_writes: false,
        };
        let answer = Segment {
            address: address + ANSWER as u64,
            len: 1,
            device_writes: true,
        };
        chains.add(&mut chain, command);
        chains.finish(chain, answer);
        Ok(Self { chains })
    }

    /// The ring below.
    pub(super) fn ring(&self) -> &Ring<M> {
        self.chains.ring()
    }

    /// Whether the card has done as it was told, if it has just answered.
    pub(super) fn answer(&mut self) -> Option<bool> {
        let slot = self.chains.take()?;
        self.chains.give(slot);
        let (page, offset, _) = self.chains.scratch(slot)?;
        Some(page.load_u8(offset + ANSWER) == GOOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::dma::fake::{FakePage, page_at};
    use crate::drivers::ring::device::FakeDevice;

    #[test]
    fn the_command_is_sent_and_its_answer_read_once() {
        for (word, good) in [(0_u16, true), (1, false)] {
            let mut control = Control::<FakePage>::take_all().unwrap();
            let mut device = FakeDevice::on(control.ring());
            assert_eq!(control.answer(), None);
            let (slot, segments) = device.next().unwrap();
            let [command, answer] = segments[..] else {
                panic!("{segments:?}");
            };
            let at = usize::try_from(command.address % 4096).unwrap();
            assert_eq!(page_at(command.address).bytes::<3>(at), [0, 0, 1]);
            assert!(answer.device_writes && answer.len == 1);
            page_at(answer.address).store_u16(at + ANSWER, word);
            device.done(slot, 1);
            assert_eq!((control.answer(), control.answer()), (Some(good), None));
        }
    }
}
