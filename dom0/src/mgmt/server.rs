//! dom0's end of the management channel: many sessions over one byte stream.
//!
//! The server knows neither the device below it, which is a pair of queues of byte chunks, nor
//! the commands above it, which are a [`Commands`]. It decodes messages, hands each to its
//! session, and forgets everything when the host's end says hello anew: a relay that comes
//! back after a crash finds a clean table.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;

use async_channel::{Receiver, Sender};

use super::frame::{self, Decoder};
use super::protocol::{SessionId, ToDom0, ToHost, VERSION};
use super::session::Session;
use crate::executor::Runtime;
use crate::io::Stdio;

/// The commands that sessions run.
pub trait Commands {
    /// Runs `argv` (the first word is the verb) to its exit status.
    fn run(&self, argv: Vec<String>, stdio: Stdio) -> Pin<Box<dyn Future<Output = u8>>>;
}

/// Where encoded messages go; clones share one stream.
#[derive(Clone, Debug)]
pub(super) struct Wire(Sender<Vec<u8>>);

impl Wire {
    /// Sends a message, waiting while the stream is full.
    pub(super) async fn send(&self, message: &ToHost) {
        match frame::encode(message) {
            // A closed stream means that dom0 goes down: nobody is left to be told.
            Ok(bytes) => drop(self.0.send(bytes).await),
            Err(error) => log::error!("management channel: {error}"),
        }
    }
}

/// The server's state between two messages.
struct Server {
    runtime: Runtime,
    commands: Rc<dyn Commands>,
    wire: Wire,
    sessions: BTreeMap<SessionId, Session>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

/// Serves the channel until its input ends.
pub async fn serve(
    runtime: Runtime,
    commands: Rc<dyn Commands>,
    input: Receiver<Vec<u8>>,
    output: Sender<Vec<u8>>,
) {
    let wire = Wire(output);
    let mut server = Server {
        runtime,
        commands,
        wire,
        sessions: BTreeMap::new(),
    };
    let mut decoder = Decoder::new();
    while let Ok(bytes) = input.recv().await {
        decoder.push(&bytes);
        while let Some(message) = decoder.next_message() {
            server.handle(message).await;
        }
    }
}

impl Server {
    async fn handle(&mut self, message: ToDom0) {
        match message {
            ToDom0::Hello { version } => self.greet(version).await,
            ToDom0::Exec {
                session,
                argv,
                terminal: _,
            } => self.exec(session, argv),
            ToDom0::Cancel { session } => self.cancel(session).await,
            ToDom0::Stdin { session, bytes } => self.with(session, |s| s.input(bytes)),
            ToDom0::StdinEnd { session } => self.with(session, Session::end_input),
            ToDom0::Resize { .. } => {}
            ToDom0::FileOpened {
                session,
                file,
                size,
            } => {
                self.with(session, |s| s.file_opened(file, size));
            }
            ToDom0::FileChunk {
                session,
                file,
                bytes,
            } => {
                self.with(session, |s| s.file_chunk(file, bytes));
            }
            ToDom0::FileEnd { session, file } => self.with(session, |s| s.file_end(file)),
            ToDom0::FileRefused {
                session,
                file,
                reason,
            } => {
                self.with(session, |s| s.file_refused(file, reason));
            }
        }
    }

    /// A new connection: nobody waits for the sessions of the one before.
    async fn greet(&mut self, version: u16) {
        self.sessions.clear();
        if version != VERSION {
            log::warn!("management channel: the host speaks version {version}, we {VERSION}");
        }
        let _ = self.wire.0.send(frame::preamble()).await;
        self.wire.send(&ToHost::Ready { version: VERSION }).await;
    }

    fn exec(&mut self, id: SessionId, argv: Vec<String>) {
        self.sessions.retain(|_, session| !session.is_done());
        let (stdio, caller) = Stdio::new();
        let command = self.commands.run(argv, stdio);
        let session = Session::start(&self.runtime, id, self.wire.clone(), command, caller);
        self.sessions.insert(id, session);
    }

    async fn cancel(&mut self, id: SessionId) {
        /// What a shell reports for a command that an interrupt ended.
        const INTERRUPTED: u8 = 130;
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if !session.is_done() {
            drop(session);
            self.wire
                .send(&ToHost::Exit {
                    session: id,
                    status: INTERRUPTED,
                })
                .await;
        }
    }

    /// Hands something to a session, unless it has ended meanwhile.
    fn with(&mut self, id: SessionId, what: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&id) {
            what(session);
        }
    }
}
