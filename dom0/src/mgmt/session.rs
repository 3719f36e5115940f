//! One command that the host runs in dom0: its streams, its files, its end.
//!
//! Small tasks carry the data, one for each stream, so that one that waits holds up no other:
//!
//! ```text
//! Stdin ──▶ queue ──feed input──▶ Stdio ──▶ command ──▶ Stdio ──carry output──▶ Stdout, Stderr, Exit
//! FileChunk ──▶ queue ──feed file──▶ FileStream ─┘  └──▶ FileRequest ──ask for files──▶ OpenFile
//! ```
//!
//! Dropping a session ends all of them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;

use async_channel::{Receiver, Sender};

use super::protocol::{CHUNK_BYTES, FileId, SessionId, ToHost};
use super::server::Wire;
use crate::executor::{JoinHandle, Runtime};
use crate::io::{Caller, FileError, FileRequest, FileStream, Output};

/// A file that the command asked for.
enum File {
    /// The host has not answered yet.
    Asked(Sender<Result<FileStream, FileError>>),
    /// Its chunks go here; dropped at its end.
    Open(Sender<Vec<u8>>),
}

/// A command under way.
pub(super) struct Session {
    runtime: Runtime,
    id: SessionId,
    wire: Wire,
    /// Where standard input goes; gone after its end.
    input: Option<Sender<Vec<u8>>>,
    files: Rc<RefCell<BTreeMap<FileId, File>>>,
    done: Rc<Cell<bool>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Session {
    /// Starts the command and the tasks around it.
    pub(super) fn start(
        runtime: &Runtime,
        id: SessionId,
        wire: Wire,
        command: Pin<Box<dyn Future<Output = u8>>>,
        caller: Caller,
    ) -> Self {
        let Caller {
            input,
            output,
            files: requests,
        } = caller;
        let (queue, typed) = async_channel::unbounded();
        let files = Rc::new(RefCell::new(BTreeMap::new()));
        let done = Rc::new(Cell::new(false));
        let tasks = alloc::vec![
            runtime.spawn(run(command, output, id, wire.clone(), done.clone())),
            runtime.spawn(feed_input(typed, input, id, wire.clone())),
            runtime.spawn(ask_for_files(requests, id, wire.clone(), files.clone())),
        ];
        let runtime = runtime.clone();
        Self {
            runtime,
            id,
            wire,
            input: Some(queue),
            files,
            done,
            tasks,
        }
    }

    /// Whether its exit status has been sent.
    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Takes standard input from the host. The queue is bounded by the credit that the host has.
    pub(super) fn input(&mut self, bytes: Vec<u8>) {
        if let Some(queue) = &self.input {
            let _ = queue.try_send(bytes);
        }
    }

    /// Standard input is at its end.
    pub(super) fn end_input(&mut self) {
        self.input = None;
    }

    /// The host has opened a file that the command asked for.
    pub(super) fn file_opened(&mut self, file: FileId, size: u64) {
        let mut files = self.files.borrow_mut();
        let Some(File::Asked(reply)) = files.remove(&file) else {
            return;
        };
        let (stream, feed) = FileStream::new(size);
        let (queue, chunks) = async_channel::unbounded();
        files.insert(file, File::Open(queue));
        let task = feed_file(chunks, feed, self.id, file, self.wire.clone());
        self.tasks.push(self.runtime.spawn(task));
        // Nobody waits any more if the command has ended; the feeder then closes the file.
        let _ = reply.try_send(Ok(stream));
    }

    /// A piece of an open file.
    pub(super) fn file_chunk(&mut self, file: FileId, bytes: Vec<u8>) {
        if let Some(File::Open(queue)) = self.files.borrow().get(&file) {
            let _ = queue.try_send(bytes);
        }
    }

    /// An open file is at its end.
    pub(super) fn file_end(&mut self, file: FileId) {
        self.files.borrow_mut().remove(&file);
    }

    /// The host could not open a file.
    pub(super) fn file_refused(&mut self, file: FileId, reason: String) {
        if let Some(File::Asked(reply)) = self.files.borrow_mut().remove(&file) {
            let _ = reply.try_send(Err(FileError::Refused(reason)));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Runs the command and carries its output, to the last byte, then its status.
async fn run(
    command: Pin<Box<dyn Future<Output = u8>>>,
    output: Receiver<Output>,
    session: SessionId,
    wire: Wire,
    done: Rc<Cell<bool>>,
) {
    let carry = async {
        while let Ok(piece) = output.recv().await {
            for message in messages(session, piece) {
                wire.send(&message).await;
            }
        }
    };
    let (status, ()) = futures_util::future::join(command, carry).await;
    done.set(true);
    wire.send(&ToHost::Exit { session, status }).await;
}

/// A piece of output, which may be of any length, in messages, which may not.
fn messages(session: SessionId, piece: Output) -> impl Iterator<Item = ToHost> {
    let (bytes, is_error) = match piece {
        Output::Out(bytes) => (bytes, false),
        Output::Err(bytes) => (bytes, true),
    };
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let later = rest.split_off(rest.len().min(CHUNK_BYTES));
        let bytes = core::mem::replace(&mut rest, later);
        (!bytes.is_empty()).then_some(match is_error {
            false => ToHost::Stdout { session, bytes },
            true => ToHost::Stderr { session, bytes },
        })
    })
}

/// Feeds standard input; each piece taken lets the host send one more.
async fn feed_input(
    typed: Receiver<Vec<u8>>,
    input: Sender<Vec<u8>>,
    session: SessionId,
    wire: Wire,
) {
    while let Ok(bytes) = typed.recv().await {
        if input.send(bytes).await.is_err() {
            return;
        }
        wire.send(&ToHost::StdinCredit { session, chunks: 1 }).await;
    }
}

/// Passes the command's wishes for files on to the host.
async fn ask_for_files(
    requests: Receiver<FileRequest>,
    session: SessionId,
    wire: Wire,
    files: Rc<RefCell<BTreeMap<FileId, File>>>,
) {
    let mut next = 0;
    while let Ok(FileRequest { path, reply }) = requests.recv().await {
        let file = FileId(next);
        next += 1;
        files.borrow_mut().insert(file, File::Asked(reply));
        wire.send(&ToHost::OpenFile {
            session,
            file,
            path,
        })
        .await;
    }
}

/// Feeds a file to the command; tells the host when the command wants no more of it.
async fn feed_file(
    chunks: Receiver<Vec<u8>>,
    feed: Sender<Result<Vec<u8>, FileError>>,
    session: SessionId,
    file: FileId,
    wire: Wire,
) {
    while let Ok(bytes) = chunks.recv().await {
        if feed.send(Ok(bytes)).await.is_err() {
            wire.send(&ToHost::CloseFile { session, file }).await;
            return;
        }
        wire.send(&ToHost::FileCredit {
            session,
            file,
            chunks: 1,
        })
        .await;
    }
}
