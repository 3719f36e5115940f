//! Own memory for packets on their way to where grants don't reach.
//!
//! Blocks are kept and used again once nobody else holds them; there are never more than the
//! limit. Every vif has a pool of its own, so that nobody can exhaust another's.

use alloc::collections::VecDeque;
use alloc::rc::Rc;

use guest_abi::io::netif::NR_SLOTS_MIN;

use crate::host::{Host, IoMemory};

/// Blocks of one size.
struct Shelf {
    pages: usize,
    limit: usize,
    blocks: VecDeque<Rc<dyn IoMemory>>,
}

impl Shelf {
    const fn new(pages: usize, limit: usize) -> Self {
        Self {
            pages,
            limit,
            blocks: VecDeque::new(),
        }
    }

    /// A block that nobody uses. The oldest is looked at first: it is most likely free.
    fn take(&mut self, host: &dyn Host) -> Option<Rc<dyn IoMemory>> {
        const LOOKS: usize = 4;
        let mut looked = self.blocks.iter().take(LOOKS);
        if let Some(free) = looked.position(|block| Rc::strong_count(block) == 1)
            && let Some(block) = self.blocks.remove(free)
        {
            self.blocks.push_back(block.clone());
            return Some(block);
        }
        if self.blocks.len() == self.limit {
            return None;
        }
        let block = host.pages(self.pages).ok()?;
        self.blocks.push_back(block.clone());
        Some(block)
    }
}

/// Blocks of both sizes.
pub(super) struct Pool {
    small: Shelf,
    large: Shelf,
}

impl Pool {
    /// Nothing is allocated before it is needed.
    pub(super) const fn new() -> Self {
        Self {
            small: Shelf::new(1, 64),
            large: Shelf::new(NR_SLOTS_MIN, 6),
        }
    }

    /// A page.
    pub(super) fn page(&mut self, host: &dyn Host) -> Option<Rc<dyn IoMemory>> {
        self.small.take(host)
    }

    /// As many pages as a packet has slots.
    pub(super) fn packet(&mut self, host: &dyn Host) -> Option<Rc<dyn IoMemory>> {
        self.large.take(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;
    use alloc::vec::Vec;

    #[test]
    fn blocks_in_use_are_bounded_and_come_back_when_dropped() {
        let host = FakeHost::new();
        let mut pool = Pool::new();
        let mut held: Vec<_> = core::iter::from_fn(|| pool.page(&*host)).collect();
        assert_eq!(held.len(), 64);
        let first = held.remove(0).address();
        assert_eq!(pool.page(&*host).map(|page| page.address()), Some(first));
    }

    #[test]
    fn a_block_that_is_free_is_used_before_a_new_one_is_made() {
        let host = FakeHost::new();
        let mut pool = Pool::new();
        let address = pool.packet(&*host).map(|block| block.address());
        assert_eq!(pool.packet(&*host).map(|block| block.address()), address);
    }
}
