//! The CMOS clock, read once at start-up.

use super::io::{inb, outb};
use crate::time::calendar::{DateTime, from_bcd};

const UPDATE_IN_PROGRESS: u8 = 1 << 7;
const BINARY: u8 = 1 << 2;
const HOURS_24: u8 = 1 << 1;
const AFTERNOON: u8 = 1 << 7;

/// Seconds since 1970 by the CMOS clock, taken to show UTC.
pub(super) fn seconds() -> u64 {
    let mut last = read();
    // Two equal readings were not torn by an update.
    loop {
        let again = read();
        if again == last {
            return last.to_unix();
        }
        last = again;
    }
}

fn register(index: u8) -> u8 {
    outb(0x70, index);
    inb(0x71)
}

fn read() -> DateTime {
    for _ in 0..10_000 {
        if register(0x0a) & UPDATE_IN_PROGRESS == 0 {
            break;
        }
    }
    let mode = register(0x0b);
    let number = |value: u8| {
        if mode & BINARY != 0 {
            value
        } else {
            from_bcd(value)
        }
    };
    let hour = register(4);
    let hour = match (mode & HOURS_24 != 0, hour & AFTERNOON != 0) {
        (true, _) => number(hour),
        (false, afternoon) => number(hour & !AFTERNOON) % 12 + if afternoon { 12 } else { 0 },
    };
    DateTime {
        year: 2000 + u64::from(number(register(9))),
        month: number(register(8)).into(),
        day: number(register(7)).into(),
        hour: hour.into(),
        minute: number(register(2)).into(),
        second: number(register(0)).into(),
    }
}
