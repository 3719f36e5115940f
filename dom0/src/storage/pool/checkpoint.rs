//! All metadata written anew, so that the journal can start from its beginning.
//!
//! The checkpoint goes into the area that the last one did not use, then follows the superblock
//! of the next generation, in the copy that the last one did not use: until that is durable,
//! nothing that counts has been touched. Records of older generations count no longer then.
//!
//! Map entries may change while they are written: such changes are committed later, and again.
//! Commits and changes of volumes wait meanwhile.

use alloc::rc::Rc;
use alloc::vec::Vec;

use backends::host::DiskError;

use super::Pool;
use super::commit::Tail;
use super::format::{Kind, Op, Superblock, seal};
use super::layer::Layer;
use super::layout::{BLOCK, Layout};
use crate::storage::block::Bytes;

/// Bytes written at a time.
const PART: usize = 256 << 10;

impl Pool {
    /// Writes all metadata anew and empties the journal. The caller has the lock.
    pub(super) async fn checkpoint(&self) -> Result<(), DiskError> {
        let generation = self.tail.get().generation + 1;
        let layers: Vec<Rc<Layer>> = self.layers.borrow().values().cloned().collect();
        let mut writer = Writer::new(&self.bytes, &self.layout, generation);
        for layer in &layers {
            writer.push(&Op::Layer(layer.describe())).await?;
        }
        for layer in &layers {
            writer.push_map(layer).await?;
        }
        let (checkpoint_len, checkpoint_crc) = writer.finish().await?;
        let superblock = Superblock {
            name: self.name.clone(),
            layout: self.layout,
            checkpoint_len,
            checkpoint_crc,
        };
        // The checkpoint and all data it points to come before the superblock.
        self.bytes.flush().await?;
        write_superblock(&self.bytes, generation, &superblock).await?;
        self.tail.set(Tail {
            generation,
            sequence: 0,
            position: 0,
        });
        Ok(())
    }
}

/// Writes the superblock of a generation, durably.
pub(super) async fn write_superblock(
    bytes: &Bytes,
    generation: u64,
    superblock: &Superblock,
) -> Result<(), DiskError> {
    let payload = postcard::to_allocvec(superblock).map_err(|_| DiskError::Io)?;
    let block = seal(Kind::Superblock, generation, 0, &payload);
    let at = Layout::superblock(generation);
    bytes.write_durably(at, &block).await
}

/// Operations on their way into a checkpoint.
struct Writer<'a> {
    device: &'a Bytes,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    len: u64,
    crc: crc32fast::Hasher,
}

impl<'a> Writer<'a> {
    fn new(device: &'a Bytes, layout: &Layout, generation: u64) -> Self {
        let at = layout.checkpoint_start(generation);
        Self {
            device,
            at,
            end: at + layout.checkpoint_len(),
            buffer: Vec::new(),
            len: 0,
            crc: crc32fast::Hasher::new(),
        }
    }

    async fn push(&mut self, op: &Op) -> Result<(), DiskError> {
        op.encode(&mut self.buffer);
        if self.buffer.len() >= PART {
            let rest = self.buffer.split_off(PART);
            self.write().await?;
            self.buffer = rest;
        }
        Ok(())
    }

    /// The entries of a layer, each as it is when its turn comes.
    async fn push_map(&mut self, layer: &Layer) -> Result<(), DiskError> {
        let mut from = Some(0);
        while let Some(start) = from {
            let next = layer.map.borrow().next(start);
            let Some((chunk, entry)) = next else { break };
            from = chunk.checked_add(1);
            if entry.valid != 0 {
                let layer = layer.number;
                self.push(&Op::Map {
                    layer,
                    chunk,
                    entry,
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Writes what is in the buffer.
    async fn write(&mut self) -> Result<(), DiskError> {
        self.crc.update(&self.buffer);
        self.len += self.buffer.len() as u64;
        self.buffer
            .resize(self.buffer.len().next_multiple_of(BLOCK), 0);
        let end = self.at + self.buffer.len() as u64;
        if end > self.end {
            return Err(DiskError::NoSpace);
        }
        self.device.write(self.at, &self.buffer).await?;
        self.at = end;
        Ok(())
    }

    /// The length and the CRC of all of it.
    async fn finish(mut self) -> Result<(u64, u32), DiskError> {
        if !self.buffer.is_empty() {
            self.write().await?;
        }
        Ok((self.len, self.crc.finalize()))
    }
}
