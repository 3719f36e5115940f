//! The core's log: to the serial port and into the ring behind `xl dmesg`.
//!
//! Lines that a guest can cause carry the target [`GUEST`]: they have a level of their own
//! (`guest_loglvl=`) and a rate, so that no guest can flood the log. Everybody else logs as usual.
//!
//! One lock guards the port and the ring, so lines of different CPUs and dom0's own output do not
//! mix within a line.

use core::fmt::{self, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::ring::Ring;
use crate::arch;
use crate::sync::SpinLock;

/// The target of lines that a guest can cause.
pub const GUEST: &str = "guest";

const PREFIX: &str = "(RADON) ";
/// A guest-caused line more than this many …
const BURST: u32 = 10;
/// … within this time is not shown.
const WINDOW_NS: u64 = 5_000_000_000;

static LOG: CoreLog = CoreLog;
static CONSOLE: SpinLock<Console> = SpinLock::new(Console {
    ring: Ring::new(),
    rate: Rate::new(),
    guest_level: LevelFilter::Warn,
    to_serial: true,
});

struct CoreLog;

struct Console {
    ring: Ring,
    rate: Rate,
    guest_level: LevelFilter,
    to_serial: bool,
}

/// Starts logging.
pub fn init() {
    // A second logger is refused; there is none.
    let _ = log::set_logger(&LOG);
    log::set_max_level(LevelFilter::Info);
}

/// Applies the command line's choices.
pub fn configure(level: LevelFilter, guest_level: LevelFilter, to_serial: bool) {
    log::set_max_level(level.max(guest_level));
    let mut console = CONSOLE.lock();
    console.guest_level = guest_level;
    console.to_serial = to_serial;
}

/// Writes the privileged domain's console output as it is.
pub fn write_console(bytes: &[u8]) {
    let console = CONSOLE.lock();
    if console.to_serial {
        arch::serial::write(bytes);
    }
}

/// Where a reader that has read up to `index` goes on, or `None` starts.
pub fn start_of(index: Option<u32>) -> u32 {
    CONSOLE.lock().ring.start_of(index)
}

/// Copies log bytes from `index` on; says how many.
pub fn read_at(index: u32, into: &mut [u8]) -> usize {
    CONSOLE.lock().ring.read_at(index, into)
}

/// Forgets what was logged so far.
pub fn clear() {
    CONSOLE.lock().ring.clear();
}

/// Writes in spite of the lock, when all else has failed.
pub fn write_emergency(text: fmt::Arguments<'_>) {
    match CONSOLE.try_lock() {
        Some(mut console) => drop(console.write_fmt(text)),
        None => drop(Bare.write_fmt(text)),
    }
}

/// The serial port alone.
struct Bare;

impl Write for Bare {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                arch::serial::write(b"\r\n");
            }
            arch::serial::write(line.as_bytes());
        }
        Ok(())
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.ring.write(text.as_bytes());
        if self.to_serial {
            Bare.write_str(text)?;
        }
        Ok(())
    }
}

impl Log for CoreLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = arch::clock::now();
        let mut console = CONSOLE.lock();
        if record.target() == GUEST && !console.admit_guest_line(record.level(), now) {
            return;
        }
        // Writing to the console cannot fail.
        let _ = console.line(now, record.level(), *record.args());
    }

    fn flush(&self) {}
}

impl Console {
    fn line(&mut self, now: u64, level: Level, text: fmt::Arguments<'_>) -> fmt::Result {
        let (seconds, micros) = (now / 1_000_000_000, now / 1000 % 1_000_000);
        write!(self, "{PREFIX}[{seconds:4}.{micros:06}] ")?;
        match level {
            Level::Error => self.write_str("error: ")?,
            Level::Warn => self.write_str("warning: ")?,
            _ => {}
        }
        self.write_fmt(text)?;
        self.write_str("\n")
    }

    fn admit_guest_line(&mut self, level: Level, now: u64) -> bool {
        if level > self.guest_level {
            return false;
        }
        match self.rate.admit(now) {
            Admission::Shown { suppressed: 0 } => true,
            Admission::Shown { suppressed } => {
                let text = format_args!("{suppressed} lines about guests were left out");
                let _ = self.line(now, Level::Info, text);
                true
            }
            Admission::Suppressed => false,
        }
    }
}

/// How many lines were shown in the present window of time.
struct Rate {
    window_start: u64,
    shown: u32,
    suppressed: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    /// Show it, and say how many were not since the last time.
    Shown {
        suppressed: u32,
    },
    Suppressed,
}

impl Rate {
    const fn new() -> Self {
        Self {
            window_start: 0,
            shown: 0,
            suppressed: 0,
        }
    }

    fn admit(&mut self, now: u64) -> Admission {
        if now.saturating_sub(self.window_start) >= WINDOW_NS {
            self.window_start = now;
            self.shown = 0;
        }
        if self.shown >= BURST {
            self.suppressed = self.suppressed.saturating_add(1);
            return Admission::Suppressed;
        }
        self.shown += 1;
        Admission::Shown {
            suppressed: core::mem::take(&mut self.suppressed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, BURST, Rate, WINDOW_NS};

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut rate = Rate::new();
        for _ in 0..BURST {
            assert_eq!(rate.admit(1), Admission::Shown { suppressed: 0 });
        }
        assert_eq!(rate.admit(2), Admission::Suppressed);
        assert_eq!(rate.admit(3), Admission::Suppressed);
        let later = rate.admit(WINDOW_NS + 1);
        assert_eq!(later, Admission::Shown { suppressed: 2 });
        let next = rate.admit(WINDOW_NS + 2);
        assert_eq!(next, Admission::Shown { suppressed: 0 });
    }
}
