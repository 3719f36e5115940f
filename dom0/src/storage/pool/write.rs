//! The first write of a block.
//!
//! 1. Have the blocks for oneself: who writes part of a block fills in the rest, and must not
//!    overwrite what another has just written there.
//! 2. Read what is missing of the first and the last block.
//! 3. Have a chunk for each chunk of the volume that has none.
//! 4. Write.
//! 5. Mark the blocks as held. Only now a reader finds them here, and a commit may say so.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Range;

use backends::host::{DiskError, Piece, SECTOR_SIZE};

use super::Pool;
use super::layer::{Layer, chunk_of, chunks};
use super::layout::{BLOCK, BLOCK_SECTORS};
use super::map::Entry;
use super::volume::Volume;
use crate::storage::block::{memory, pieces};
use crate::storage::slice::sectors;

/// How often a write waits for chunks that others have given up.
const PATIENCE: usize = 64;

/// Writes sectors, some of whose blocks the layer may not hold yet.
pub(super) async fn write(
    pool: Rc<Pool>,
    volume: Rc<Volume>,
    sector: u64,
    pieces: Vec<Piece>,
    durable: bool,
) -> Result<(), DiskError> {
    let end = sector + sectors(&pieces);
    {
        let _writer = volume.enter().await?;
        let blocks = sector - sector % BLOCK_SECTORS..end.next_multiple_of(BLOCK_SECTORS);
        let _busy = volume.occupy(blocks).await;
        let layer = volume.layer();
        pool.write_blocks(&layer, sector..end, &pieces).await?;
    }
    match durable {
        true => pool.commit().await,
        false => Ok(()),
    }
}

impl Pool {
    /// Writes sectors whose blocks the caller has for itself.
    async fn write_blocks(
        self: &Rc<Self>,
        layer: &Rc<Layer>,
        wanted: Range<u64>,
        data: &[Piece],
    ) -> Result<(), DiskError> {
        let mut patience = PATIENCE;
        loop {
            let (range, pieces) = self.whole_blocks(layer, wanted.clone(), data).await?;
            if !self.map_chunks(layer, range.clone()) {
                patience = patience.checked_sub(1).ok_or(DiskError::NoSpace)?;
                self.reclaim().await?;
                continue;
            }
            // While we read, somebody may have discarded what we counted on.
            if !is_whole(layer, &range) {
                continue;
            }
            return self.write_mapped(layer, range, pieces).await;
        }
    }

    /// Sectors and data that begin and end with whole blocks, or within blocks that are held.
    async fn whole_blocks(
        &self,
        layer: &Rc<Layer>,
        mut range: Range<u64>,
        data: &[Piece],
    ) -> Result<(Range<u64>, Vec<Piece>), DiskError> {
        let mut all = Vec::with_capacity(data.len() + 2);
        let (head, tail) = (range.start % BLOCK_SECTORS, range.end % BLOCK_SECTORS);
        let (fill_head, fill_tail) = (
            head != 0 && !layer.holds(range.start),
            tail != 0 && !layer.holds(range.end),
        );
        if fill_head {
            range.start -= head;
            all.push(self.part(layer, range.start, 0..head).await?);
        }
        all.extend_from_slice(data);
        if fill_tail {
            let start = range.end - tail;
            all.push(self.part(layer, start, tail..BLOCK_SECTORS).await?);
            range.end = start + BLOCK_SECTORS;
        }
        Ok((range, all))
    }

    /// Sectors of a block as they are now.
    async fn part(
        &self,
        layer: &Rc<Layer>,
        block: u64,
        part: Range<u64>,
    ) -> Result<Piece, DiskError> {
        let memory = memory(&*self.host, BLOCK)?;
        let whole = pieces(&memory, 0, BLOCK);
        let read = self.read(layer, block..block + BLOCK_SECTORS, whole);
        self.complete(layer, read).await?;
        let bytes = |sectors: u64| usize::try_from(sectors).unwrap_or(0) * SECTOR_SIZE;
        Ok(Piece {
            memory,
            offset: bytes(part.start),
            len: bytes(part.end - part.start),
        })
    }

    /// Finds a chunk of the pool for each chunk of the layer; `false` when there is none left.
    fn map_chunks(&self, layer: &Layer, range: Range<u64>) -> bool {
        let mut map = layer.map.borrow_mut();
        let mut space = self.space.borrow_mut();
        for part in chunks(range) {
            let chunk = chunk_of(part.start);
            if map.get(chunk).is_mapped() {
                continue;
            }
            let before = chunk.checked_sub(1).map(|before| map.get(before));
            let neighbour = before.filter(|entry| entry.is_mapped());
            let Some(found) = space.take(neighbour.map(|entry| entry.chunk)) else {
                return false;
            };
            map.set(chunk, Entry::new(found, 0));
        }
        true
    }

    /// Waits for chunks that were given up.
    async fn reclaim(self: &Rc<Self>) -> Result<(), DiskError> {
        if self.changes.borrow().frees() {
            return self.commit().await;
        }
        let ended = self.space.borrow().waiting().ok_or(DiskError::NoSpace)?;
        ended.after(ended.count()).await;
        Ok(())
    }

    /// Writes to chunks that are there, and marks the blocks as held.
    async fn write_mapped(
        &self,
        layer: &Rc<Layer>,
        range: Range<u64>,
        pieces: Vec<Piece>,
    ) -> Result<(), DiskError> {
        let plan = layer.plan_mapped(range.clone()).ok_or(DiskError::Io)?;
        let parts = chunks(range).map(|part| (part.clone(), layer.entry(part.start).chunk));
        let parts: Vec<(Range<u64>, u32)> = parts.collect();
        let _epoch = self.space.borrow().epoch();
        let future = self.write(&plan, layer, pieces, false);
        self.complete(layer, future).await?;
        let mut map = layer.map.borrow_mut();
        let mut changes = self.changes.borrow_mut();
        for (part, pool_chunk) in parts {
            let chunk = chunk_of(part.start);
            let entry = map.get(chunk);
            // Discarded meanwhile: then the discard came last.
            if entry.chunk == pool_chunk {
                let blocks = Entry::blocks(part.start, part.end - part.start);
                map.set(chunk, Entry::new(pool_chunk, entry.valid | blocks));
                changes.note((layer.number, chunk));
            }
        }
        Ok(())
    }
}

/// Whether no block would be written in part that is not held.
fn is_whole(layer: &Layer, range: &Range<u64>) -> bool {
    let whole = |sector: u64| sector.is_multiple_of(BLOCK_SECTORS) || layer.holds(sector);
    whole(range.start) && whole(range.end)
}
