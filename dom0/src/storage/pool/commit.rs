//! Making changes durable: the journal.
//!
//! A commit, which serves all who ask while the one before it is under way:
//!
//! 1. Take the changed map entries as they are now: the data they point to has been written.
//! 2. Flush the device: that data is durable.
//! 3. Write the entries as one record behind the last one, durably.
//! 4. Chunks that were given up may be used again.
//!
//! Records do not wrap around: when one does not fit, a checkpoint takes its place.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use async_channel::Sender;
use backends::host::DiskError;

use super::Pool;
use super::changes::Place;
use super::format::{Kind, Op, seal, sealed_size};
use super::map::Entry;

/// Where the journal goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// The superblock's generation.
    pub(super) generation: u64,
    /// Records so far.
    pub(super) sequence: u64,
    /// Bytes so far.
    pub(super) position: u64,
}

/// Who waits for the next commit.
#[derive(Debug, Default)]
pub(super) struct Commits {
    waiting: RefCell<Vec<Sender<Result<(), DiskError>>>>,
    running: Cell<bool>,
}

impl Pool {
    /// Makes everything durable that was done before.
    pub(super) async fn commit(self: &Rc<Self>) -> Result<(), DiskError> {
        let (answer, result) = async_channel::bounded(1);
        self.commits.waiting.borrow_mut().push(answer);
        if !self.commits.running.replace(true) {
            // A task of its own: nobody who gives up waiting stops it.
            let pool = self.clone();
            self.runtime
                .spawn(async move { pool.serve_commits().await });
        }
        result.recv().await.unwrap_or(Err(DiskError::Io))
    }

    /// Commits until everybody who asked is served.
    async fn serve_commits(self: Rc<Self>) {
        loop {
            let lock = self.lock.take().await;
            let served = core::mem::take(&mut *self.commits.waiting.borrow_mut());
            if served.is_empty() {
                break;
            }
            let result = self.commit_locked().await;
            drop(lock);
            for answer in served {
                // Whoever has given up waiting need not know.
                let _ = answer.try_send(result);
            }
        }
        self.commits.running.set(false);
    }

    /// A commit. The caller has the lock.
    pub(super) async fn commit_locked(&self) -> Result<(), DiskError> {
        let (places, freed) = self.changes.borrow_mut().begin();
        let ops = self.entries(&places);
        match self.write_changes(ops).await {
            Ok(()) => {
                self.changes.borrow_mut().done();
                self.space.borrow_mut().release(freed);
                Ok(())
            }
            Err(error) => {
                self.changes.borrow_mut().failed(freed);
                Err(error)
            }
        }
    }

    async fn write_changes(&self, ops: Vec<Op>) -> Result<(), DiskError> {
        self.bytes.flush().await?;
        if ops.is_empty() {
            return Ok(());
        }
        let payload = encode(&ops);
        if self.fits(payload.len()) {
            self.append(&payload).await
        } else {
            // The checkpoint says all that the record would have said.
            self.checkpoint().await
        }
    }

    /// Writes operations on volumes, all of them or none. The caller has the lock.
    pub(super) async fn write_ops(&self, ops: &[Op]) -> Result<(), DiskError> {
        let payload = encode(ops);
        if !self.fits(payload.len()) {
            self.checkpoint().await?;
        }
        self.append(&payload).await
    }

    /// The entries of these chunks as operations.
    fn entries(&self, places: &[Place]) -> Vec<Op> {
        let layers = self.layers.borrow();
        let ops = places.iter().filter_map(|&(number, chunk)| {
            let layer = layers.get(&number)?;
            Some(Op::Map {
                layer: number,
                chunk,
                entry: settled(layer.map.borrow().get(chunk)),
            })
        });
        ops.collect()
    }

    /// Whether the journal has room for a record.
    fn fits(&self, len: usize) -> bool {
        let end = self.tail.get().position + sealed_size(len) as u64;
        end <= self.layout.journal_len()
    }

    /// Writes a record, durably.
    async fn append(&self, payload: &[u8]) -> Result<(), DiskError> {
        let tail = self.tail.get();
        let record = seal(Kind::Record, tail.generation, tail.sequence, payload);
        let at = self.layout.journal_start() + tail.position;
        self.bytes.write_durably(at, &record).await?;
        self.tail.set(Tail {
            sequence: tail.sequence + 1,
            position: tail.position + record.len() as u64,
            ..tail
        });
        Ok(())
    }
}

fn encode(ops: &[Op]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for op in ops {
        op.encode(&mut bytes);
    }
    bytes
}

/// An entry as it is written: a chunk that holds nothing yet is none.
fn settled(entry: Entry) -> Entry {
    match entry.valid {
        0 => Entry::default(),
        _ => entry,
    }
}
