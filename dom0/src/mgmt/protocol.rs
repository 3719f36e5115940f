//! What host and dom0 say to each other.
//!
//! The channel is one byte stream each way (a virtio console; a Unix socket on the host). Both
//! ends share this file. On the host one relay owns the stream and serves any number of `xl`
//! commands, each of which is a *session*.
//!
//! ```text
//! host                                             dom0
//!   padding, Hello ------------------------------->  ends every session it had
//!     <------------------------------------ padding, Ready
//!   Exec{session, argv, terminal} ---------------->  starts the command
//!     <------------ OpenFile{session, file, path}    (a host path in a config file)
//!   FileOpened, FileChunk…, FileEnd -------------->  or FileRefused
//!     <------------------- FileCredit, CloseFile
//!   Stdin…, StdinEnd ----------------------------->
//!     <----------------------------- StdinCredit
//!     <---------------------- Stdout…, Stderr…
//!     <--------------------------- Exit{status}      the last word on a session
//! ```
//!
//! Rules:
//!
//! 1. The host chooses session numbers and does not use one again before its `Exit` has come.
//!    dom0 chooses the file numbers of a session, likewise.
//! 2. `Cancel` asks dom0 to end a session whose user went away. dom0 stops the command where it
//!    can, sends nothing more but its `Exit`, and the host swallows what was under way.
//! 3. Streams towards dom0 are throttled: [`INITIAL_CREDIT`] chunks of standard input, and of each
//!    file, may be sent unasked; dom0 grants more as the command takes them. So a command that
//!    does not read holds up nobody else. Output is not throttled: the relay buffers it.
//! 4. Messages about sessions or files that the receiver does not know are ignored: they crossed
//!    an `Exit` or a `Cancel` on the way.
//!
//! A message travels as a frame: see [`super::frame`].

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

/// The version of this protocol; both ends are built together, so any difference is a mix-up.
pub const VERSION: u16 = 1;
/// The most bytes a chunk of a stream carries.
pub const CHUNK_BYTES: usize = 32 << 10;
/// Chunks of a stream that may be sent before any credit was granted.
pub const INITIAL_CREDIT: u32 = 16;

/// One run of `xl`, for as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u32);

/// One of a session's open host files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId(pub u32);

/// The size of the user's terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// What the host says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDom0 {
    /// A new connection: whatever sessions there were are over.
    Hello {
        /// The host's [`VERSION`].
        version: u16,
    },
    /// Runs `xl` with these arguments (without the name itself).
    Exec {
        /// A number not in use.
        session: SessionId,
        /// The arguments.
        argv: Vec<String>,
        /// The terminal, if the user sits at one.
        terminal: Option<TerminalSize>,
    },
    /// A chunk of standard input.
    Stdin {
        /// Whose.
        session: SessionId,
        /// At most [`CHUNK_BYTES`].
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Standard input is at its end.
    StdinEnd {
        /// Whose.
        session: SessionId,
    },
    /// The terminal has a new size.
    Resize {
        /// Whose.
        session: SessionId,
        /// The new size.
        size: TerminalSize,
    },
    /// A file asked for is open; its chunks follow.
    FileOpened {
        /// Whose.
        session: SessionId,
        /// Which.
        file: FileId,
        /// Its length as the host's file system tells it.
        size: u64,
    },
    /// The next chunk of a file.
    FileChunk {
        /// Whose.
        session: SessionId,
        /// Which.
        file: FileId,
        /// At most [`CHUNK_BYTES`].
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The file is at its end; its number is free again.
    FileEnd {
        /// Whose.
        session: SessionId,
        /// Which.
        file: FileId,
    },
    /// The file could not be opened, or no longer be read; its number is free again.
    FileRefused {
        /// Whose.
        session: SessionId,
        /// Which.
        file: FileId,
        /// The host system's words.
        reason: String,
    },
    /// The user went away.
    Cancel {
        /// Whose session is to end.
        session: SessionId,
    },
}

/// What dom0 says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHost {
    /// The answer to [`ToDom0::Hello`]: dom0 is up, and `xl` can be run.
    Ready {
        /// dom0's [`VERSION`].
        version: u16,
    },
    /// A chunk of standard output.
    Stdout {
        /// Whose.
        session: SessionId,
        /// At most [`CHUNK_BYTES`].
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// A chunk of standard error.
    Stderr {
        /// Whose.
        session: SessionId,
        /// At most [`CHUNK_BYTES`].
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// More chunks of standard input may be sent.
    StdinCredit {
        /// Whose.
        session: SessionId,
        /// How many more.
        chunks: u32,
    },
    /// Asks for a file of the host.
    OpenFile {
        /// Whose.
        session: SessionId,
        /// A number not in use.
        file: FileId,
        /// The path, relative to the directory the user is in.
        path: String,
    },
    /// More chunks of a file may be sent.
    FileCredit {
        /// Whose.
        session: SessionId,
        /// Which.
        file: FileId,
        /// How many more.
        chunks: u32,
    },
    /// The rest of a file is not wanted; the host answers with [`ToDom0::FileEnd`].
    CloseFile {
        /// Whose.
        session: SessionId,
        /// Which.
        file: FileId,
    },
    /// Whether the user's keys go to the command one by one, as a console wants it.
    RawTerminal {
        /// Whose.
        session: SessionId,
        /// One by one, or line by line.
        raw: bool,
    },
    /// The command is over; the session's number is free again.
    Exit {
        /// Whose.
        session: SessionId,
        /// The exit status.
        status: u8,
    },
}

impl ToDom0 {
    /// The session this is about, for a relay to renumber.
    pub fn session_mut(&mut self) -> Option<&mut SessionId> {
        match self {
            Self::Hello { .. } => None,
            Self::Exec { session, .. }
            | Self::Stdin { session, .. }
            | Self::StdinEnd { session }
            | Self::Resize { session, .. }
            | Self::FileOpened { session, .. }
            | Self::FileChunk { session, .. }
            | Self::FileEnd { session, .. }
            | Self::FileRefused { session, .. }
            | Self::Cancel { session } => Some(session),
        }
    }
}

impl ToHost {
    /// The session this is about, for a relay to renumber.
    pub fn session_mut(&mut self) -> Option<&mut SessionId> {
        match self {
            Self::Ready { .. } => None,
            Self::Stdout { session, .. }
            | Self::Stderr { session, .. }
            | Self::StdinCredit { session, .. }
            | Self::OpenFile { session, .. }
            | Self::FileCredit { session, .. }
            | Self::CloseFile { session, .. }
            | Self::RawTerminal { session, .. }
            | Self::Exit { session, .. } => Some(session),
        }
    }
}
