//! Free frames: a buddy allocator whose lists run through the frame table.
//!
//! A free block of order `n` is 2^n frames, aligned to their number; only its first frame knows.
//! Freeing joins a block with its buddy for as long as that is free, so any sequence of
//! allocations and frees ends in the blocks it began with. Everything takes time proportional to
//! the number of orders. A block carries the flush clock of its last use: whoever gets it sees to
//! it that no CPU still has it mapped.

/// The largest block: 2^18 frames, one gibibyte.
pub const MAX_ORDER: u8 = 18;

const ORDERS: usize = MAX_ORDER as usize + 1;
const NONE: u32 = u32::MAX;

/// A free block, as its first frame records it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// 2^order frames.
    pub order: u8,
    /// The block before it in its list.
    pub prev: u32,
    /// The block after it in its list.
    pub next: u32,
    /// The flush clock when any of its frames was last in use.
    pub stamp: u64,
}

/// Where blocks are recorded.
pub trait BlockTable {
    /// The free block that starts at `frame`, if one does.
    fn block(&self, frame: u32) -> Option<Block>;
    /// Records the free block at `frame`, or that none starts there.
    fn set_block(&mut self, frame: u32, block: Option<Block>);
}

/// Frames handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The first frame.
    pub frame: u32,
    /// The flush clock when any of them was last in use; 0 for never.
    pub stamp: u64,
}

/// The heads of the lists of free blocks, one per order.
#[derive(Debug)]
pub struct FrameAllocator {
    heads: [u32; ORDERS],
    free: u64,
}

impl Default for FrameAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameAllocator {
    /// No free frames.
    pub const fn new() -> Self {
        Self {
            heads: [NONE; ORDERS],
            free: 0,
        }
    }

    /// How many frames are free.
    pub const fn free_frames(&self) -> u64 {
        self.free
    }

    /// Adds the frames `from..to`, in the largest blocks they make.
    pub fn insert_range(&mut self, table: &mut impl BlockTable, from: u32, to: u32) {
        let mut frame = from;
        while frame < to {
            let aligned = frame.trailing_zeros().min(u32::from(MAX_ORDER));
            let fits = (to - frame).ilog2();
            let order = u8::try_from(aligned.min(fits)).unwrap_or(0);
            self.free(table, frame, order, 0);
            frame += 1 << order;
        }
    }

    /// Takes 2^order frames.
    pub fn alloc(&mut self, table: &mut impl BlockTable, order: u8) -> Option<Taken> {
        let found = (order..=MAX_ORDER).find(|&o| self.head(o) != NONE)?;
        let frame = self.head(found);
        Some(self.split(table, frame, found, order))
    }

    /// Takes 2^order frames that end at or below `limit`; looks through the lists, for rare use.
    pub fn alloc_below(
        &mut self,
        table: &mut impl BlockTable,
        order: u8,
        limit: u64,
    ) -> Option<Taken> {
        let size = 1u64.checked_shl(u32::from(order))?;
        for from in order..=MAX_ORDER {
            let mut frame = self.head(from);
            while let Some(block) = table.block(frame) {
                if u64::from(frame) + size <= limit {
                    return Some(self.split(table, frame, from, order));
                }
                frame = block.next;
            }
        }
        None
    }

    /// Gives 2^order frames back, last in use at `stamp`.
    pub fn free(&mut self, table: &mut impl BlockTable, frame: u32, order: u8, stamp: u64) {
        self.free += 1 << order;
        let (mut frame, mut order, mut stamp) = (frame, order, stamp);
        while order < MAX_ORDER {
            let buddy = frame ^ 1 << order;
            match table.block(buddy) {
                Some(block) if block.order == order => {
                    self.unlink(table, buddy, block);
                    stamp = stamp.max(block.stamp);
                    frame &= !(1 << order);
                    order += 1;
                }
                _ => break,
            }
        }
        self.push(table, frame, order, stamp);
    }

    fn split(&mut self, table: &mut impl BlockTable, frame: u32, from: u8, to: u8) -> Taken {
        let stamp = table.block(frame).map_or(0, |block| {
            self.unlink(table, frame, block);
            block.stamp
        });
        // Keep the lower part, give the upper halves back.
        for order in (to..from).rev() {
            self.push(table, frame + (1 << order), order, stamp);
        }
        self.free -= 1 << to;
        Taken { frame, stamp }
    }

    fn head(&self, order: u8) -> u32 {
        self.heads.get(usize::from(order)).copied().unwrap_or(NONE)
    }

    fn set_head(&mut self, order: u8, frame: u32) {
        if let Some(head) = self.heads.get_mut(usize::from(order)) {
            *head = frame;
        }
    }

    fn push(&mut self, table: &mut impl BlockTable, frame: u32, order: u8, stamp: u64) {
        let next = self.head(order);
        if let Some(block) = table.block(next) {
            table.set_block(
                next,
                Some(Block {
                    prev: frame,
                    ..block
                }),
            );
        }
        let block = Block {
            order,
            prev: NONE,
            next,
            stamp,
        };
        table.set_block(frame, Some(block));
        self.set_head(order, frame);
    }

    fn unlink(&mut self, table: &mut impl BlockTable, frame: u32, block: Block) {
        if let Some(next) = table.block(block.next) {
            table.set_block(
                block.next,
                Some(Block {
                    prev: block.prev,
                    ..next
                }),
            );
        }
        match table.block(block.prev) {
            Some(prev) => table.set_block(
                block.prev,
                Some(Block {
                    next: block.next,
                    ..prev
                }),
            ),
            None => self.set_head(block.order, block.next),
        }
        table.set_block(frame, None);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{Block, BlockTable, FrameAllocator};
    use proptest::prelude::{any, proptest};

    #[derive(Default)]
    struct Map(BTreeMap<u32, Block>);

    impl BlockTable for Map {
        fn block(&self, frame: u32) -> Option<Block> {
            self.0.get(&frame).copied()
        }
        fn set_block(&mut self, frame: u32, block: Option<Block>) {
            match block {
                Some(block) => self.0.insert(frame, block),
                None => self.0.remove(&frame),
            };
        }
    }

    fn free_set(map: &Map) -> BTreeSet<u32> {
        let mut frames = BTreeSet::new();
        for (&frame, block) in &map.0 {
            for f in frame..frame + (1 << block.order) {
                assert!(frames.insert(f), "frame {f} is in two free blocks");
            }
        }
        frames
    }

    #[test]
    fn a_range_becomes_the_largest_blocks_it_makes() {
        let (mut map, mut alloc) = (Map::default(), FrameAllocator::new());
        alloc.insert_range(&mut map, 3, 21);
        let blocks: Vec<_> = map.0.iter().map(|(f, b)| (*f, b.order)).collect();
        assert_eq!(blocks, [(3, 0), (4, 2), (8, 3), (16, 2), (20, 0)]);
        assert_eq!(alloc.free_frames(), 18);
    }

    #[test]
    fn nothing_is_found_above_the_limit() {
        let (mut map, mut alloc) = (Map::default(), FrameAllocator::new());
        alloc.insert_range(&mut map, 64, 128);
        assert!(alloc.alloc_below(&mut map, 0, 64).is_none());
        let low = alloc.alloc_below(&mut map, 1, 66).unwrap();
        assert_eq!(low.frame, 64);
    }

    #[test]
    fn a_joined_block_keeps_the_later_stamp() {
        let (mut map, mut alloc) = (Map::default(), FrameAllocator::new());
        alloc.insert_range(&mut map, 0, 2);
        let (a, b) = (
            alloc.alloc(&mut map, 0).unwrap(),
            alloc.alloc(&mut map, 0).unwrap(),
        );
        alloc.free(&mut map, a.frame, 0, 7);
        alloc.free(&mut map, b.frame, 0, 5);
        assert_eq!(alloc.alloc(&mut map, 1).unwrap().stamp, 7);
    }

    proptest! {
        #[test]
        fn the_free_set_is_what_a_naive_set_says(
            start in 0u32..40,
            len in 1u32..300,
            ops in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..200),
        ) {
            let (mut map, mut alloc) = (Map::default(), FrameAllocator::new());
            alloc.insert_range(&mut map, start, start + len);
            let mut model: BTreeSet<u32> = (start..start + len).collect();
            let before: Vec<_> = map.0.iter().map(|(f, b)| (*f, b.order)).collect();
            let mut held = Vec::new();
            for (take, n) in ops {
                if take {
                    let order = (n % 6) as u8;
                    if let Some(taken) = alloc.alloc(&mut map, order) {
                        assert_eq!(taken.frame % (1 << order), 0);
                        for f in taken.frame..taken.frame + (1 << order) {
                            assert!(model.remove(&f), "frame {f} handed out twice");
                        }
                        held.push((taken.frame, order));
                    }
                } else if !held.is_empty() {
                    let (frame, order) = held.swap_remove(usize::from(n) % held.len());
                    alloc.free(&mut map, frame, order, 0);
                    model.extend(frame..frame + (1 << order));
                }
                assert_eq!(free_set(&map), model);
                assert_eq!(alloc.free_frames(), model.len() as u64);
            }
            for (frame, order) in held {
                alloc.free(&mut map, frame, order, 0);
            }
            let after: Vec<_> = map.0.iter().map(|(f, b)| (*f, b.order)).collect();
            assert_eq!(after, before);
        }
    }
}
