//! The PIT, used once: to learn how fast the other clocks are.
//!
//! Channel 2 counts down from 65535 at 1.193182 MHz without an interrupt. Reading both ends right
//! when the count changes makes 10 ms precise to some tens of parts in a million, on an emulator
//! that only computes the count when asked, too.

use super::io::{inb, outb};
use crate::time::calibration::{Look, Measured, Reference, measure as measure_against};

const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const GATE: u16 = 0x61;
/// In [`GATE`]: the channel's output, which rises when the count has run out.
const OUTPUT: u8 = 1 << 5;
/// 10 ms.
const TICKS: u16 = 11_932;

/// Channel 2, and the counters that are measured.
struct Channel2<C, T> {
    tsc: C,
    timer: T,
}

impl<C: Fn() -> u64, T: Fn() -> u64> Reference for Channel2<C, T> {
    const HZ: u64 = 1_193_182;

    fn start(&mut self) {
        // Gate on, speaker off; channel 2, both bytes, mode 0.
        outb(GATE, inb(GATE) & !2 | 1);
        outb(COMMAND, 0xb0);
        outb(CHANNEL_2, 0xff);
        outb(CHANNEL_2, 0xff);
    }

    fn look(&mut self) -> Look {
        let before = (self.tsc)();
        let count = count();
        let timer = (self.timer)();
        let after = (self.tsc)();
        Look {
            before,
            count,
            timer,
            after,
        }
    }

    fn ran_out(&mut self) -> bool {
        inb(GATE) & OUTPUT != 0
    }
}

/// Measures two counters against the PIT.
pub(super) fn measure(tsc: impl Fn() -> u64, timer: impl Fn() -> u64) -> Measured {
    measure_against(&mut Channel2 { tsc, timer }, TICKS)
}

fn count() -> u16 {
    // Latch channel 2, then read both bytes.
    outb(COMMAND, 0x80);
    let low = inb(CHANNEL_2);
    u16::from_le_bytes([low, inb(CHANNEL_2)])
}
