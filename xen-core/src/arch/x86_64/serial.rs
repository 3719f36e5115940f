//! The first serial port: a 16550 at 0x3f8, interrupt 4.
//!
//! Output polls the transmitter, a FIFO's worth at a time. Input arrives by interrupt and waits in
//! a ring until dom0 reads it; what does not fit is lost, as on any serial line.

use heapless::Deque;

use super::io::{inb, outb};
use crate::sync::SpinLock;

/// The ISA interrupt of the port.
pub const IRQ: u8 = 4;

const BASE: u16 = 0x3f8;
const INTERRUPT_ENABLE: u16 = BASE + 1;
const FIFO_CONTROL: u16 = BASE + 2;
const LINE_CONTROL: u16 = BASE + 3;
const MODEM_CONTROL: u16 = BASE + 4;
const LINE_STATUS: u16 = BASE + 5;

const RECEIVED: u8 = 1 << 0;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
const FIFO_BYTES: usize = 16;
/// Where a read of the status says all ones there is no port.
const ABSENT: u8 = 0xff;

static INPUT: SpinLock<Deque<u8, 1024>> = SpinLock::new(Deque::new());

/// Sets the port to `baud`, 8 bits, no parity, one stop bit, FIFOs on.
pub fn init(baud: u32) {
    let [low, high, ..] = (115_200 / baud.max(1)).to_le_bytes();
    outb(INTERRUPT_ENABLE, 0);
    outb(LINE_CONTROL, 0x80);
    outb(BASE, low);
    outb(BASE + 1, high);
    outb(LINE_CONTROL, 0x03);
    outb(FIFO_CONTROL, 0x07);
    outb(MODEM_CONTROL, 0x0b);
}

/// Asks for an interrupt for each byte that arrives.
pub fn enable_interrupt() {
    outb(INTERRUPT_ENABLE, 0x01);
}

/// Sends `bytes` as they are.
pub fn write(bytes: &[u8]) {
    for burst in bytes.chunks(FIFO_BYTES) {
        while inb(LINE_STATUS) & TRANSMITTER_EMPTY == 0 {
            core::hint::spin_loop();
        }
        for byte in burst {
            outb(BASE, *byte);
        }
    }
}

/// Takes what has arrived off the port; says whether there was anything.
pub fn on_interrupt() -> bool {
    let mut input = INPUT.lock();
    let mut any = false;
    loop {
        let status = inb(LINE_STATUS);
        if status == ABSENT || status & RECEIVED == 0 {
            return any;
        }
        let _ = input.push_back(inb(BASE));
        any = true;
    }
}

/// Moves input to `into`; says how many bytes.
pub fn read(into: &mut [u8]) -> usize {
    let mut input = INPUT.lock();
    let mut count = 0;
    for (slot, byte) in into
        .iter_mut()
        .zip(core::iter::from_fn(|| input.pop_front()))
    {
        *slot = byte;
        count += 1;
    }
    count
}
