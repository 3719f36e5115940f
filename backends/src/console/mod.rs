//! The console backend: what a guest prints and what is typed at it.
//!
//! ```text
//!   guest ──out ring──▶ Console::run ──▶ log ──▶ viewers, each with a cursor of its own
//!         ◀─in ring──── Console::run ◀── what was typed
//! ```
//!
//! The log is kept from the domain's first byte to its end, so whoever attaches late, or looks
//! after a guest that printed one line and died, sees what was said. Its memory is bounded: the
//! first 16 KiB and the last 64 KiB stay, the middle goes.
//!
//! The ring page belongs to the guest. An index that can't be closes the console, with the
//! reason in the log; the guest then stares at a full ring, and nobody else notices. What guests
//! print may hold terminal escapes: a raw console passes them on, everything else shows
//! [`plain`] text.

mod filter;
mod log;
mod ring;

pub use filter::plain;
pub use log::{Chunk, Cursor, Log};
pub use ring::{ConsoleRing, RingError};

use crate::host::SharedPage;
use alloc::collections::VecDeque;
use alloc::format;

/// Most bytes that wait to be typed at a guest that doesn't read.
const MAX_TYPED: usize = 4096;

/// What one look at a console's ring came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "the guest waits for its notification"]
pub struct Progress {
    /// The guest should be notified: we took output or gave input.
    pub notify: bool,
    /// The log has grown.
    pub printed: bool,
}

/// One domain's console.
#[derive(Debug)]
pub struct Console<P> {
    ring: Result<ConsoleRing<P>, Closed>,
    typed: VecDeque<u8>,
    log: Log,
}

/// Why a console has no ring any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The guest broke its ring.
    Broken(RingError),
    /// The domain is gone.
    Ended,
}

impl<P: SharedPage> Console<P> {
    /// A console over a ring page.
    pub fn new(page: P) -> Self {
        let ring = Ok(ConsoleRing::new(page));
        Self {
            ring,
            typed: VecDeque::new(),
            log: Log::new(),
        }
    }

    /// Takes all the guest has printed, and gives it what was typed.
    pub fn run(&mut self) -> Progress {
        let mut progress = Progress::default();
        let Ok(ring) = &mut self.ring else {
            return progress;
        };
        let mut buffer = [0; 2048];
        let moved = ring.take_output(&mut buffer).and_then(|printed| {
            let given = ring.give_input(&mut self.typed)?;
            Ok((printed, given))
        });
        match moved {
            Ok((printed, given)) => {
                self.log.append(buffer.get(..printed).unwrap_or_default());
                progress.printed = printed > 0;
                progress.notify = printed > 0 || given > 0;
            }
            Err(error) => {
                self.log
                    .append(format!("\r\n[console closed: {error}]\r\n").as_bytes());
                self.ring = Err(Closed::Broken(error));
                progress.printed = true;
            }
        }
        progress
    }

    /// Takes what is left in the ring and lets go of the page; the log stays.
    pub fn end(&mut self) {
        while self.run().printed {}
        if self.ring.is_ok() {
            self.ring = Err(Closed::Ended);
        }
    }

    /// Why nothing comes any more, if so.
    pub fn closed(&self) -> Option<Closed> {
        self.ring.as_ref().err().copied()
    }

    /// Types at the guest. Returns how many bytes were taken: fewer than given when the guest
    /// doesn't read.
    pub fn type_in(&mut self, bytes: &[u8]) -> usize {
        if self.ring.is_err() {
            return 0;
        }
        let room = MAX_TYPED.saturating_sub(self.typed.len());
        let taken = bytes.len().min(room);
        self.typed.extend(bytes.iter().take(taken));
        taken
    }

    /// What was printed.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use super::ring::tests::Guest;
    use super::*;
    use crate::host::fake::FakePage;

    #[test]
    fn what_was_printed_before_the_end_is_in_the_log() {
        let page = FakePage::new();
        let mut guest = Guest::new(page.clone());
        let mut console = Console::new(page);
        guest.print(b"goodbye\n");
        console.end();
        assert_eq!(console.closed(), Some(Closed::Ended));
        assert_eq!(console.log().to_vec(), b"goodbye\n");
    }

    #[test]
    fn a_broken_ring_closes_the_console_and_says_why() {
        let page = FakePage::new();
        let mut guest = Guest::new(page.clone());
        let mut console = Console::new(page);
        guest.print(b"hello");
        let _ = console.run();
        guest.jump_out_prod(0x8000_0000);
        assert!(console.run().printed);
        assert!(matches!(console.closed(), Some(Closed::Broken(_))));
        let log = console.log().to_vec();
        let log = String::from_utf8_lossy(&log);
        assert!(
            log.starts_with("hello") && log.contains("console closed"),
            "{log}"
        );
        assert_eq!(console.run(), Progress::default());
    }

    #[test]
    fn typing_at_a_guest_that_never_reads_is_bounded() {
        let mut console = Console::new(FakePage::new());
        let mut taken = 0;
        for _ in 0..100 {
            taken += console.type_in(&[b'x'; 1000]);
            let _ = console.run();
        }
        assert_eq!(taken, MAX_TYPED + 1024);
    }
}
