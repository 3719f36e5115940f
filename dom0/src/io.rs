//! What a command talks to: its input, its two outputs, and its caller's files.
//!
//! A verb holds a [`Stdio`]; whoever called it, the shell on the serial console
//! or a session of the management channel, holds the [`Caller`] at the other
//! end. Everything between them is bounded, so a fast writer waits for a slow
//! reader. When the caller goes away, the verb's next write says [`Gone`].

use alloc::{string::String, vec::Vec};
use core::fmt;

use async_channel::{Receiver, Sender};

/// How many chunks may be under way in each direction.
const CHUNKS_UNDER_WAY: usize = 16;

/// A piece of what a command prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// For the standard output.
    Out(Vec<u8>),
    /// For the standard error output.
    Err(Vec<u8>),
}

/// The caller is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the caller is gone")
    }
}

/// Why a file of the caller could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// The caller has no files: the serial console.
    NoFiles,
    /// The caller's system refused; its own words.
    Refused(String),
    /// The caller went away while the file was read.
    Gone,
    /// The file is longer than the reader allows.
    TooLong {
        /// The longest that would have been accepted, in bytes.
        limit: u64,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFiles => f.write_str("no host files here: use `cargo xtask xl`"),
            Self::Refused(words) => f.write_str(words),
            Self::Gone => Gone.fmt(f),
            Self::TooLong { limit } => write!(f, "longer than {limit} bytes"),
        }
    }
}

/// A file of the caller on its way here, chunk by chunk.
#[derive(Debug)]
pub struct FileStream {
    size: u64,
    chunks: Receiver<Result<Vec<u8>, FileError>>,
}

impl FileStream {
    /// A stream of `size` bytes, and the sender that feeds it.
    ///
    /// Dropping the sender ends the file.
    #[must_use]
    pub fn new(size: u64) -> (Self, Sender<Result<Vec<u8>, FileError>>) {
        let (sender, chunks) = async_channel::bounded(CHUNKS_UNDER_WAY);
        (Self { size, chunks }, sender)
    }

    /// The size the caller's system reported when the file was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next chunk; `None` after the last one.
    ///
    /// # Errors
    ///
    /// What went wrong on the caller's side; the stream is over then.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        match self.chunks.recv().await {
            Ok(chunk) => chunk.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The whole rest of the file, at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), and [`FileError::TooLong`].
    pub async fn read_to_end(&mut self, limit: u64) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size.min(limit)).unwrap_or(0));
        while let Some(chunk) = self.next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                return Err(FileError::TooLong { limit });
            }
        }
        Ok(bytes)
    }
}

/// A command's wish to read one of its caller's files.
#[derive(Debug)]
pub struct FileRequest {
    /// The path as the user wrote it; relative to the caller's own directory.
    pub path: String,
    /// Where the answer goes.
    pub reply: Sender<Result<FileStream, FileError>>,
}

/// A command's side of the connection.
#[derive(Clone, Debug)]
pub struct Stdio {
    input: Receiver<Vec<u8>>,
    output: Sender<Output>,
    files: Sender<FileRequest>,
}

/// The caller's side of the connection.
#[derive(Debug)]
pub struct Caller {
    /// Takes what the user types; close it (or drop it) for the end of the input.
    pub input: Sender<Vec<u8>>,
    /// Gives what the command prints; closed when the command is done.
    pub output: Receiver<Output>,
    /// Gives the command's wishes for files. A caller without files answers
    /// each with [`FileError::NoFiles`], or just drops this.
    pub files: Receiver<FileRequest>,
}

impl Stdio {
    /// A connection: the command's end and the caller's end.
    #[must_use]
    pub fn new() -> (Self, Caller) {
        let (input_sender, input) = async_channel::bounded(CHUNKS_UNDER_WAY);
        let (output, output_receiver) = async_channel::bounded(CHUNKS_UNDER_WAY);
        let (files, files_receiver) = async_channel::bounded(1);
        let caller = Caller {
            input: input_sender,
            output: output_receiver,
            files: files_receiver,
        };
        (
            Self {
                input,
                output,
                files,
            },
            caller,
        )
    }

    /// The next piece of input; `None` at its end.
    pub async fn read(&self) -> Option<Vec<u8>> {
        self.input.recv().await.ok()
    }

    /// Prints to the standard output.
    ///
    /// # Errors
    ///
    /// [`Gone`] when nobody is there to read it.
    pub async fn out(&self, text: impl Into<Vec<u8>>) -> Result<(), Gone> {
        self.output
            .send(Output::Out(text.into()))
            .await
            .map_err(|_| Gone)
    }

    /// Prints to the standard error output.
    ///
    /// # Errors
    ///
    /// [`Gone`] when nobody is there to read it.
    pub async fn err(&self, text: impl Into<Vec<u8>>) -> Result<(), Gone> {
        self.output
            .send(Output::Err(text.into()))
            .await
            .map_err(|_| Gone)
    }

    /// Opens a file of the caller.
    ///
    /// # Errors
    ///
    /// Why the caller could not or would not open it.
    pub async fn open(&self, path: &str) -> Result<FileStream, FileError> {
        let (reply, answer) = async_channel::bounded(1);
        let request = FileRequest {
            path: path.into(),
            reply,
        };
        self.files
            .send(request)
            .await
            .map_err(|_| FileError::NoFiles)?;
        answer.recv().await.map_err(|_| FileError::Gone)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::future::Future;

    use crate::executor::{Runtime, tests::FakePlatform};

    fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
        Runtime::new(FakePlatform::default()).block_on(future)
    }

    #[test]
    fn what_a_command_prints_reaches_its_caller_in_order() {
        let (stdio, caller) = Stdio::new();
        run(async move {
            stdio.out("one").await.unwrap();
            stdio.err("two").await.unwrap();
            drop(stdio);
            assert_eq!(caller.output.recv().await, Ok(Output::Out(b"one".to_vec())));
            assert_eq!(caller.output.recv().await, Ok(Output::Err(b"two".to_vec())));
            assert!(caller.output.recv().await.is_err());
        });
    }

    #[test]
    fn a_command_notices_that_its_caller_is_gone() {
        let (stdio, caller) = Stdio::new();
        drop(caller);
        run(async move {
            assert_eq!(stdio.out("lost").await, Err(Gone));
            assert_eq!(stdio.open("file").await.map(drop), Err(FileError::NoFiles));
        });
    }

    #[test]
    fn a_file_longer_than_the_limit_is_refused() {
        let (mut file, feed) = FileStream::new(4);
        run(async move {
            feed.send(Ok(b"0123456789".to_vec())).await.unwrap();
            drop(feed);
            assert_eq!(
                file.read_to_end(5).await,
                Err(FileError::TooLong { limit: 5 })
            );
        });
    }
}
