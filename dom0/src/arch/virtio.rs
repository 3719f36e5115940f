//! Virtqueues whose buffers are owned pages.
//!
//! The `virtio-drivers` crate keeps the rings; what it cannot know is that a buffer stays alive
//! and untouched while the device has it. Here that is so by construction: a [`Queue`] owns each
//! [`Page`] from the moment it is handed in until the device gives it back.

use alloc::collections::BTreeMap;
use core::fmt;
use core::ptr::NonNull;

use frontends::memory::{self, Page};
use frontends::window::Mapping;
use guest_abi::{MachAddr, PAGE_SIZE};
use spin::Mutex;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::{BufferDirection, Error, Hal, PAGE_SIZE as DMA_PAGE_SIZE, PhysAddr};

const _: () = assert!(DMA_PAGE_SIZE == PAGE_SIZE);

/// Pages that hold rings, by machine address.
static RINGS: Mutex<BTreeMap<PhysAddr, Page>> = Mutex::new(BTreeMap::new());

/// dom0's memory as devices see it: by machine address, contiguous within a page only.
#[derive(Debug)]
pub struct Machine;

// SAFETY: `dma_alloc` hands out pages that `RINGS` owns until `dma_dealloc`; device mappings are
// made for the caller alone and kept for good; addresses come from the p2m list.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // The crate takes address 0 as "out of memory".
        let none = (0, NonNull::dangling());
        let Some(page) = (pages == 1).then(Page::zeroed).and_then(Result::ok) else {
            return none;
        };
        let address = page.frame().to_maddr().get();
        let pointer = NonNull::new(pointer_to(&page));
        RINGS.lock().insert(address, page);
        pointer.map_or(none, |pointer| (address, pointer))
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, _vaddr: NonNull<u8>, _pages: usize) -> i32 {
        if RINGS.lock().remove(&paddr).is_some() {
            0
        } else {
            -1
        }
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, size: usize) -> NonNull<u8> {
        let mapping = Mapping::device(MachAddr::new(paddr), size as u64)
            .expect("the hypervisor lets dom0 map the registers of its devices");
        let offset = paddr % PAGE_SIZE as u64;
        let address = mapping.address().get() + offset;
        // Devices do not go away: neither do their registers.
        core::mem::forget(mapping);
        NonNull::new(core::ptr::with_exposed_provenance_mut(to_usize(address)))
            .unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        let address = buffer.cast::<u8>().as_ptr().expose_provenance() as u64;
        memory::machine_address(address).map_or(0, MachAddr::get)
    }

    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "addresses have 64 bits on this machine"
)]
const fn to_usize(address: u64) -> usize {
    address as usize
}

fn pointer_to(page: &Page) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(to_usize(page.address()))
}

/// A page that the device has, and how it got it.
struct Lent {
    page: Page,
    len: usize,
    to_device: bool,
}

/// A virtqueue of at most `N` pages under way.
pub struct Queue<const N: usize> {
    index: u16,
    ring: VirtQueue<Machine, N>,
    lent: [Option<Lent>; N],
}

impl<const N: usize> fmt::Debug for Queue<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl<const N: usize> Queue<N> {
    /// Sets up the device's queue number `index`.
    ///
    /// # Errors
    /// When the device has no such queue, or there is no memory.
    pub fn new(transport: &mut impl Transport, index: u16) -> Result<Self, Error> {
        let ring = VirtQueue::new(transport, index, false, false)?;
        Ok(Self {
            index,
            ring,
            lent: [const { None }; N],
        })
    }

    /// Lends a page that the device may fill.
    ///
    /// # Errors
    /// The page, when the queue is full.
    pub fn lend_empty(&mut self, page: Page) -> Result<(), Page> {
        self.lend(Lent {
            page,
            len: PAGE_SIZE,
            to_device: false,
        })
    }

    /// Lends a page whose first `len` bytes the device reads. `len` is not 0.
    ///
    /// # Errors
    /// The page, when the queue is full.
    pub fn lend_filled(&mut self, page: Page, len: usize) -> Result<(), Page> {
        self.lend(Lent {
            page,
            len: len.clamp(1, PAGE_SIZE),
            to_device: true,
        })
    }

    /// Whether another page can be lent.
    pub fn has_room(&self) -> bool {
        self.ring.available_desc() > 0
    }

    fn lend(&mut self, mut lent: Lent) -> Result<(), Page> {
        if !self.has_room() {
            return Err(lent.page);
        }
        let to_device = lent.to_device;
        let bytes = buffer(&mut lent);
        let token = if to_device {
            // SAFETY: the page stays in `self.lent`, unread and unwritten, until `take` pops it.
            unsafe { self.ring.add(&[bytes], &mut []) }
        } else {
            // SAFETY: as above.
            unsafe { self.ring.add(&[], &mut [bytes]) }
        };
        let slot = token
            .ok()
            .and_then(|token| self.lent.get_mut(usize::from(token)));
        match slot {
            Some(slot) => {
                *slot = Some(lent);
                Ok(())
            }
            None => Err(lent.page),
        }
    }

    /// Tells the device about what was lent, if it wants to know.
    pub fn notify(&mut self, transport: &mut impl Transport) {
        if self.ring.should_notify() {
            transport.notify(self.index);
        }
    }

    /// Takes back a page that the device is done with, and how many bytes it wrote.
    pub fn take(&mut self) -> Option<(Page, usize)> {
        let token = self.ring.peek_used()?;
        let mut lent = self.lent.get_mut(usize::from(token))?.take()?;
        let (to_device, len) = (lent.to_device, lent.len);
        let bytes = buffer(&mut lent);
        let written = if to_device {
            // SAFETY: this is the buffer that was added under this token.
            unsafe { self.ring.pop_used(token, &[bytes], &mut []) }
        } else {
            // SAFETY: as above.
            unsafe { self.ring.pop_used(token, &[], &mut [bytes]) }
        };
        // A device may claim more than it was given.
        let written = written.map_or(0, |bytes| (bytes as usize).min(len));
        Some((lent.page, written))
    }
}

/// The page as the crate wants to see it; for the length of a call only.
fn buffer(lent: &mut Lent) -> &mut [u8] {
    // SAFETY: the page is owned and mapped, and `len` is at most its size. The device may be
    // writing it, but nothing reads it through this slice: the crate takes its address.
    unsafe { core::slice::from_raw_parts_mut(pointer_to(&lent.page), lent.len) }
}
