//! `xl`: the very `xl` of dom0, on our terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::thread;

use anyhow::Result;
use dom0::mgmt::protocol::{CHUNK_BYTES, TerminalSize};
use rustix::termios::{self, OptionalActions, Termios};

use crate::client::{Event, Input, Session};
use crate::machine::HostDir;
use crate::paths::Paths;

/// Runs `xl` and tells its exit status.
///
/// # Errors
///
/// If the host does not run or goes down.
pub fn xl(paths: &Paths, host: &str, args: Vec<String>) -> Result<u8> {
    let host = HostDir::open(paths, host)?;
    let mut session = Session::start(&host, args, terminal_size())?;
    let input = session.input();
    // The thread ends with the process: a read of a terminal cannot be called back.
    thread::spawn(move || feed(&input));

    let mut raw = None;
    loop {
        match session.next_event()? {
            Event::Stdout(bytes) => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&bytes)?;
                stdout.flush()?;
            }
            Event::Stderr(bytes) => io::stderr().lock().write_all(&bytes)?,
            Event::RawTerminal(true) => raw = raw.or_else(RawTerminal::enter),
            Event::RawTerminal(false) => raw = None,
            Event::Exit(status) => {
                drop(raw);
                return Ok(status);
            }
        }
    }
}

/// Sends our input until it ends.
fn feed(input: &Input) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match io::stdin().lock().read(&mut buffer) {
            Ok(count) if count > 0 => {
                if input.send(buffer.get(..count).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                let _ = input.end();
                return;
            }
        }
    }
}

/// The size of our terminal, if we have one.
fn terminal_size() -> Option<TerminalSize> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return None;
    }
    let size = termios::tcgetwinsize(io::stdout()).ok()?;
    Some(TerminalSize {
        columns: size.ws_col,
        rows: size.ws_row,
    })
}

/// A terminal that hands on each key; dropping this restores it.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Option<Self> {
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
