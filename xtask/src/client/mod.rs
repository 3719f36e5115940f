//! One run of dom0's `xl`, seen from the host.
//!
//! A [`Session`] connects to a host's relay, starts a command and yields what it says. Host files
//! that the command asks for are served on the way, so its user never hears of them.

mod credit;
mod files;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dom0::mgmt::frame::{self, Decoder};
use dom0::mgmt::protocol::{FileId, SessionId, TerminalSize, ToDom0, ToHost, VERSION};

pub use credit::Credit;
use files::HostFile;

use crate::machine::HostDir;

/// A connection carries one session.
const SESSION: SessionId = SessionId(1);

/// What a command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Part of its standard output.
    Stdout(Vec<u8>),
    /// Part of its standard error output.
    Stderr(Vec<u8>),
    /// Whether it wants each key as it is struck.
    RawTerminal(bool),
    /// It is over.
    Exit(u8),
}

/// A command that was run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit status.
    pub status: u8,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error output.
    pub stderr: String,
}

/// The sending half of a connection, shared by all that send.
#[derive(Clone, Debug)]
pub(crate) struct Sender(Arc<Mutex<UnixStream>>);

impl Sender {
    pub(crate) fn send(&self, message: &ToDom0) -> Result<()> {
        let bytes = frame::encode(message)?;
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stream.write_all(&bytes)?)
    }
}

/// A running command; dropping it cancels it.
#[derive(Debug)]
pub struct Session {
    stream: UnixStream,
    sender: Sender,
    decoder: Decoder,
    stdin_credit: Credit,
    files: HashMap<FileId, HostFile>,
}

impl Session {
    /// Waits until dom0 is ready.
    ///
    /// # Errors
    ///
    /// If the host ends, or is not ready in time.
    pub fn wait_for_dom0(host: &HostDir, patience: Duration) -> Result<()> {
        Self::connect(host, patience).map(drop)
    }

    /// Starts `xl` with arguments.
    ///
    /// # Errors
    ///
    /// If the host does not answer.
    pub fn start(
        host: &HostDir,
        argv: Vec<String>,
        terminal: Option<TerminalSize>,
    ) -> Result<Self> {
        let session = Self::connect(host, Duration::from_secs(60))?;
        session.sender.send(&ToDom0::Exec {
            session: SESSION,
            argv,
            terminal,
        })?;
        Ok(session)
    }

    /// Runs `xl` to its end, without input.
    ///
    /// # Errors
    ///
    /// If the host does not answer. A command that fails is no error here.
    pub fn run(host: &HostDir, argv: &[&str]) -> Result<Output> {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        let mut session = Self::start(host, argv, None)?;
        session.input().end()?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match session.next_event()? {
                Event::Stdout(bytes) => stdout.extend(bytes),
                Event::Stderr(bytes) => stderr.extend(bytes),
                Event::RawTerminal(_) => {}
                Event::Exit(status) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    return Ok(Output {
                        status,
                        stdout: text(&stdout),
                        stderr: text(&stderr),
                    });
                }
            }
        }
    }

    /// Runs `xl` to its end, which must be a good one, and returns its standard output.
    ///
    /// # Errors
    ///
    /// If the host does not answer, or the command fails: its own words are part of the error.
    pub fn run_well(host: &HostDir, argv: &[&str]) -> Result<String> {
        let output = Self::run(host, argv)?;
        if output.status != 0 {
            let words = [output.stderr.trim(), output.stdout.trim()].join(" ");
            bail!(
                "xl {} failed ({}): {}",
                argv.join(" "),
                output.status,
                words.trim()
            );
        }
        Ok(output.stdout)
    }

    fn connect(host: &HostDir, patience: Duration) -> Result<Self> {
        let stream = host.connect_to_relay()?;
        let sender = Sender(Arc::new(Mutex::new(stream.try_clone()?)));
        let mut session = Self {
            stream,
            sender,
            decoder: Decoder::new(),
            stdin_credit: Credit::new(),
            files: HashMap::new(),
        };
        let deadline = Instant::now() + patience;
        match session
            .message(Some(deadline))
            .context("dom0 does not answer")?
        {
            ToHost::Ready { version } => {
                ensure!(
                    version == VERSION,
                    "dom0 is of another build: `cargo xtask down`, then up"
                );
            }
            _ => bail!("dom0 says nonsense"),
        }
        session.stream.set_read_timeout(None)?;
        Ok(session)
    }

    /// The next thing the command says.
    ///
    /// # Errors
    ///
    /// If the host ends.
    pub fn next_event(&mut self) -> Result<Event> {
        self.next_event_before(None)
    }

    /// The next thing the command says, if it says it in time.
    ///
    /// # Errors
    ///
    /// If the host ends, or the time.
    pub fn next_event_before(&mut self, deadline: Option<Instant>) -> Result<Event> {
        loop {
            match self.message(deadline)? {
                ToHost::Stdout { bytes, .. } => return Ok(Event::Stdout(bytes)),
                ToHost::Stderr { bytes, .. } => return Ok(Event::Stderr(bytes)),
                ToHost::RawTerminal { raw, .. } => return Ok(Event::RawTerminal(raw)),
                ToHost::Exit { status, .. } => return Ok(Event::Exit(status)),
                ToHost::Ready { .. } => {}
                ToHost::StdinCredit { chunks, .. } => self.stdin_credit.grant(chunks),
                ToHost::OpenFile { file, path, .. } => {
                    if let Some(open) = HostFile::open(&self.sender, SESSION, file, &path)? {
                        self.files.insert(file, open);
                    }
                }
                ToHost::FileCredit { file, chunks, .. } => {
                    self.files
                        .get(&file)
                        .into_iter()
                        .for_each(|open| open.grant(chunks));
                }
                ToHost::CloseFile { file, .. } => drop(self.files.remove(&file)),
            }
        }
    }

    /// The command's standard input.
    #[must_use]
    pub fn input(&self) -> Input {
        Input {
            sender: self.sender.clone(),
            credit: self.stdin_credit.clone(),
        }
    }

    fn message(&mut self, deadline: Option<Instant>) -> Result<ToHost> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(message) = self.decoder.next_message() {
                return Ok(message);
            }
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                ensure!(!left.is_zero(), "time is up");
                self.stream.set_read_timeout(Some(left))?;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the host went down"),
                Ok(count) => self.decoder.push(buffer.get(..count).unwrap_or_default()),
                Err(why) if why.kind() == ErrorKind::WouldBlock => bail!("time is up"),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why.into()),
            }
        }
    }
}

/// A command's standard input, to be fed from any thread.
#[derive(Clone, Debug)]
pub struct Input {
    sender: Sender,
    credit: Credit,
}

impl Input {
    /// Sends a chunk, when the command has room for one.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        if !self.credit.take() {
            return Err(io::Error::from(ErrorKind::BrokenPipe).into());
        }
        self.sender.send(&ToDom0::Stdin {
            session: SESSION,
            bytes: bytes.to_vec(),
        })
    }

    /// Ends the input.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn end(&self) -> Result<()> {
        self.sender.send(&ToDom0::StdinEnd { session: SESSION })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stdin_credit.close();
        // Threads may still hold the sending half: end it for them as well.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
