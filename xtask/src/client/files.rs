//! Host files on their way to dom0.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::thread;

use anyhow::Result;
use dom0::mgmt::protocol::{CHUNK_BYTES, FileId, SessionId, ToDom0};

use super::{Credit, Sender};

/// A file that is being sent; dropping it ends the sending.
#[derive(Debug)]
pub(super) struct HostFile {
    credit: Credit,
}

impl HostFile {
    /// Opens a file and starts to send it; nothing if it cannot be opened, which dom0 is told.
    pub(super) fn open(
        sender: &Sender,
        session: SessionId,
        file: FileId,
        path: &str,
    ) -> Result<Option<Self>> {
        let (source, size) = match open(path) {
            Ok(opened) => opened,
            Err(reason) => {
                sender.send(&ToDom0::FileRefused {
                    session,
                    file,
                    reason,
                })?;
                return Ok(None);
            }
        };
        sender.send(&ToDom0::FileOpened {
            session,
            file,
            size,
        })?;
        let credit = Credit::new();
        let (sender, own) = (sender.clone(), credit.clone());
        // The session's end closes the connection, and with it this thread's sender.
        thread::spawn(move || send(source, &sender, &own, session, file));
        Ok(Some(Self { credit }))
    }

    /// dom0 takes more chunks.
    pub(super) fn grant(&self, chunks: u32) {
        self.credit.grant(chunks);
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        self.credit.close();
    }
}

fn open(path: &str) -> Result<(File, u64), String> {
    let source = File::open(path).map_err(|why| explain(&why))?;
    let metadata = source.metadata().map_err(|why| explain(&why))?;
    if metadata.is_dir() {
        return Err("it is a folder; name a file".to_owned());
    }
    Ok((source, metadata.len()))
}

/// Why a file cannot be read, and what to do about it.
fn explain(why: &io::Error) -> String {
    match why.kind() {
        ErrorKind::NotFound => "there is no such file on this host; check the path".to_owned(),
        ErrorKind::PermissionDenied => "you may not read it; change its permissions".to_owned(),
        _ => format!("cannot be read: {why}"),
    }
}

fn send(mut source: File, sender: &Sender, credit: &Credit, session: SessionId, file: FileId) {
    let mut buffer = vec![0; CHUNK_BYTES];
    let last = loop {
        if !credit.take() {
            break ToDom0::FileEnd { session, file };
        }
        let bytes = match source.read(&mut buffer) {
            Ok(0) => break ToDom0::FileEnd { session, file },
            Ok(count) => buffer.get(..count).unwrap_or_default().to_vec(),
            Err(why) => {
                break ToDom0::FileRefused {
                    session,
                    file,
                    reason: explain(&why),
                };
            }
        };
        if sender
            .send(&ToDom0::FileChunk {
                session,
                file,
                bytes,
            })
            .is_err()
        {
            return;
        }
    };
    // If the connection is gone, nobody waits for this.
    let _ = sender.send(&last);
}
