//! The global allocator: `talc` over memory that is mapped as it is needed.

use core::{alloc::Layout, ptr::NonNull};

use talc::{TalcLock, base::Talc, base::binning::Binning, source::Source};

use super::{bytes::pointer, memory};

/// The least by which the heap grows: what one page table maps.
const GROWTH: u64 = 2 << 20;

/// Where `talc` gets memory from: [`memory::grow_heap`].
#[derive(Debug)]
struct GuestMemory {
    /// The end of the heap so far, as `talc` reported it.
    end: Option<NonNull<u8>>,
}

// SAFETY: the pointer only marks the end of memory that `talc` owns.
unsafe impl Send for GuestMemory {}

// SAFETY: `grow_heap` allocates nothing and does not touch the allocator.
unsafe impl Source for GuestMemory {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let wanted = layout.size().checked_add(layout.align()).ok_or(())? as u64;
        // Some room beside the allocation itself goes to tags and alignment.
        let grown = memory::grow_heap(wanted.max(GROWTH) + 4096).ok_or(())?;
        let start = pointer::<u8>(grown.start);
        let bytes = usize::try_from(grown.end - grown.start).map_err(drop)?;
        let end = match talc.source.end {
            // SAFETY: `grow_heap` hands out each address once, and this range
            // begins where the one before ended.
            Some(end) => Some(unsafe { talc.extend(end, start.wrapping_add(bytes)) }),
            // SAFETY: as above; it is the first range.
            None => unsafe { talc.claim(start, bytes) },
        };
        talc.source.end = end;
        end.map(drop).ok_or(())
    }
}

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, GuestMemory> = TalcLock::new(GuestMemory { end: None });
