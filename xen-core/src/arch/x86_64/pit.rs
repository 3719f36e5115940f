//! The PIT, used once: to learn how fast the other clocks are.
//!
//! Channel 2 counts down from 65535 at 1.193182 MHz without an interrupt. Reading both ends right
//! when the count changes makes 10 ms precise to some tens of parts in a million, on an emulator
//! that only computes the count when asked, too.

use super::io::{inb, outb};

const HZ: u64 = 1_193_182;
const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const GATE: u16 = 0x61;
/// 10 ms.
const TICKS: u16 = 11_932;

/// What was measured.
pub(super) struct Measured {
    /// The time-stamp counter's frequency.
    pub tsc_hz: u64,
    /// The timer's frequency.
    pub timer_hz: u64,
}

/// Measures two counters against the PIT.
pub(super) fn measure(tsc: impl Fn() -> u64, timer: impl Fn() -> u64) -> Measured {
    // Gate on, speaker off; channel 2, both bytes, mode 0.
    outb(GATE, inb(GATE) & !2 | 1);
    outb(COMMAND, 0xb0);
    outb(CHANNEL_2, 0xff);
    outb(CHANNEL_2, 0xff);
    let first = next_change();
    let (tsc_first, timer_first) = (tsc(), timer());
    let mut last = first;
    while first.wrapping_sub(last) < TICKS {
        last = next_change();
    }
    let (tsc_last, timer_last) = (tsc(), timer());
    let ticks = u64::from(first.wrapping_sub(last));
    let hz = |count: u64| {
        u64::try_from(u128::from(count) * u128::from(HZ) / u128::from(ticks)).unwrap_or(u64::MAX)
    };
    Measured {
        tsc_hz: hz(tsc_last.wrapping_sub(tsc_first)),
        timer_hz: hz(timer_last.wrapping_sub(timer_first)),
    }
}

/// Waits until the count changes; returns the new count.
fn next_change() -> u16 {
    let before = count();
    loop {
        let now = count();
        if now != before {
            return now;
        }
    }
}

fn count() -> u16 {
    // Latch channel 2, then read both bytes.
    outb(COMMAND, 0x80);
    let low = inb(CHANNEL_2);
    u16::from_le_bytes([low, inb(CHANNEL_2)])
}
