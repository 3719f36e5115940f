//! The emergency console: the serial port for dom0, lines of the log for everybody else.
//!
//! A guest's output is gathered into lines, so that guests do not mix within one, cleaned of
//! control characters, and limited in rate per domain: one that floods the log is cut, not the
//! others.

use guest_abi::ids::DomId;

use crate::arch;
use crate::debug::log;
use crate::sync::SpinLock;
use crate::time;

/// The longest line; longer ones are broken.
const LINE: usize = 160;
/// How many lines a domain may write: a quarter of what a serial port of 115200 baud takes, for
/// the CPU waits for the port …
const BURST: u32 = 16;
/// … in this time.
const WINDOW_NS: u64 = 1_000_000_000;

/// One domain's side of the console: the line that it has begun, and what it may still write.
#[derive(Debug)]
pub struct GuestConsole {
    state: SpinLock<State>,
}

#[derive(Debug)]
struct State {
    line: heapless::String<LINE>,
    window_start_ns: u64,
    lines: u32,
    dropped: u32,
}

impl Default for GuestConsole {
    fn default() -> Self {
        Self::new()
    }
}

impl GuestConsole {
    /// Nothing written yet.
    pub const fn new() -> Self {
        Self {
            state: SpinLock::new(State {
                line: heapless::String::new(),
                window_start_ns: 0,
                lines: 0,
                dropped: 0,
            }),
        }
    }

    /// Adds output of `domain`; complete lines go to the log.
    pub fn write(&self, domain: DomId, bytes: &[u8]) {
        let now = time::now();
        self.state.lock().write(bytes, now, |line| {
            ::log::info!("(d{domain}) {line}");
        });
    }
}

impl State {
    fn write(&mut self, bytes: &[u8], now: u64, mut show: impl FnMut(&str)) {
        for byte in bytes {
            match *byte {
                b'\n' => self.end_line(now, &mut show),
                b'\t' => self.add(' ', now, &mut show),
                printable @ b' '..=b'~' => self.add(printable.into(), now, &mut show),
                b'\r' => {}
                _ => self.add('.', now, &mut show),
            }
        }
    }

    fn add(&mut self, character: char, now: u64, show: &mut impl FnMut(&str)) {
        if self.line.push(character).is_err() {
            self.end_line(now, show);
            // A line just emptied has room.
            let _ = self.line.push(character);
        }
    }

    fn end_line(&mut self, now: u64, show: &mut impl FnMut(&str)) {
        if now.saturating_sub(self.window_start_ns) >= WINDOW_NS {
            self.window_start_ns = now;
            self.lines = 0;
        }
        if self.lines < BURST {
            self.lines += 1;
            if core::mem::take(&mut self.dropped) > 0 {
                show("(lines were dropped)");
            }
            show(&self.line);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
        self.line.clear();
    }
}

/// Writes dom0's output as it is.
pub fn write_raw(bytes: &[u8]) {
    log::write_console(bytes);
}

/// Takes what was typed; says how many bytes.
pub fn read_input(into: &mut [u8]) -> usize {
    arch::serial::read(into)
}

#[cfg(test)]
mod tests {
    use super::{BURST, LINE, State, WINDOW_NS};

    fn state() -> State {
        State {
            line: heapless::String::new(),
            window_start_ns: 0,
            lines: 0,
            dropped: 0,
        }
    }

    fn shown(state: &mut State, bytes: &[u8], now: u64) -> Vec<String> {
        let mut lines = Vec::new();
        state.write(bytes, now, |line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn a_line_is_shown_when_it_ends() {
        let mut state = state();
        assert!(shown(&mut state, b"hel", 0).is_empty());
        assert_eq!(shown(&mut state, b"lo\r\nwo", 0), ["hello"]);
        assert_eq!(shown(&mut state, b"rld\n", 0), ["world"]);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown(&mut state(), b"\x1b[2J\xff\tx\n", 0), [".[2J. x"]);
    }

    #[test]
    fn an_endless_line_is_broken() {
        let lines = shown(&mut state(), &[b'x'; 2 * LINE + 1], 0);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.len() == LINE));
    }

    #[test]
    fn a_flood_is_cut_and_mentioned() {
        let mut state = state();
        let flood = [b'\n'; 1_000];
        assert_eq!(shown(&mut state, &flood, 0).len(), BURST as usize);
        // Per second no more than a quarter of the port's 11520 characters.
        assert!(BURST as usize * (LINE + 20) <= 11_520 / 4);
        let later = shown(&mut state, b"back\n", WINDOW_NS);
        assert_eq!(later, ["(lines were dropped)", "back"]);
    }
}
